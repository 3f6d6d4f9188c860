// SPDX-License-Identifier: Apache-2.0
//
// Expected: the first sentence
//
// The script must not be content with this: there are two errors.
static_assert(sizeof(char) == 2, "the first sentence");
static_assert(sizeof(char) == 3, "the second sentence");
