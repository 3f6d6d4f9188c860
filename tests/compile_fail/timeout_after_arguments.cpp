// SPDX-License-Identifier: Apache-2.0
//
// Expected: the callback cannot be called with the arguments given for it
#include "tornado/gen.hpp"

using namespace tornado;
using namespace std::chrono_literals;

void f() {
  static_cast<void>(gen::timeout_after(1s, [](int value) -> Future<int> { co_return value; }));
}
