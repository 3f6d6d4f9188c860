// SPDX-License-Identifier: Apache-2.0
//
// Expected: the callback cannot be called with the arguments given for it
#include "tornado/gen.hpp"

using namespace tornado;

void f(Executor& executor) {
  executor.submit([](int) { return 1; });
}
