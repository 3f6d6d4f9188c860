// SPDX-License-Identifier: Apache-2.0
//
// Expected: add_future calls its callback as callback(Future<T>)
#include "tornado/ioloop.hpp"

using namespace tornado;

void f(IOLoop& loop, const Future<int>& future) {
  loop.add_future(future, [] {});
}
