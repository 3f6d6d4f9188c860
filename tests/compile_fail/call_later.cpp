// SPDX-License-Identifier: Apache-2.0
//
// Expected: the callback cannot be called with the arguments given for it
#include "tornado/ioloop.hpp"

using namespace tornado;
using namespace std::chrono_literals;

void f(IOLoop& loop) {
  loop.call_later(
      1s, [](int, int) {}, 1);
}
