// SPDX-License-Identifier: Apache-2.0
//
// Expected: deleted function
#include "tornado/gen.hpp"

using namespace tornado;

Future<void> f() { return gen::sleep(5); }
