// SPDX-License-Identifier: Apache-2.0
//
// Expected: gen::timeout_after takes a function that returns a Future, and its arguments
#include "tornado/gen.hpp"

using namespace tornado;
using namespace std::chrono_literals;

void f() {
  static_cast<void>(gen::timeout_after(1s, [] { return 1; }));
}
