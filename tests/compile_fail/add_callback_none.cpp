// SPDX-License-Identifier: Apache-2.0
//
// Expected: the callback cannot be called with the arguments given for it
#include "tornado/ioloop.hpp"

using namespace tornado;

void f(IOLoop& loop) {
  loop.add_callback([](int) {});
}
