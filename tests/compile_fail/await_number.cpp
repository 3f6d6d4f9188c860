// SPDX-License-Identifier: Apache-2.0
//
// Expected: co_await, in a coroutine that returns tornado::Future, takes a Future, gen::moment, a
// vector, map or tuple of Futures, or what an overload of convert_yielded makes a Future of
#include "tornado/gen.hpp"

using namespace tornado;

Future<int> f() {
  const int value = co_await 5;
  co_return value;
}
