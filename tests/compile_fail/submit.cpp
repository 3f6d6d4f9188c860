// SPDX-License-Identifier: Apache-2.0
//
// Expected: IOLoop::submit needs #include <tornado/submit.hpp>
#include "tornado/ioloop.hpp"

using namespace tornado;

void f(IOLoop& loop) {
  loop.submit([] {});
}
