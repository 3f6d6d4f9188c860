// SPDX-License-Identifier: Apache-2.0
//
// Expected: this sentence is nowhere
//
// The script must not be content with this: it is another error.
static_assert(sizeof(char) == 2, "another sentence");
