// SPDX-License-Identifier: Apache-2.0
//
// Expected: run_sync calls its argument as f()
#include "tornado/ioloop.hpp"

using namespace tornado;

void f(IOLoop& loop) {
  loop.run_sync([](int) {});
}
