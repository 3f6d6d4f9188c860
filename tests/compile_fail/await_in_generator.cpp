// SPDX-License-Identifier: Apache-2.0
//
// Expected: co_await, in a coroutine that returns tornado::Future, takes a Future, gen::moment, a
// vector, map or tuple of Futures, or what an overload of convert_yielded makes a Future of
#include "tornado/asyncgen.hpp"

#include <string>

using namespace tornado;

gen::AsyncGenerator<int> f() {
  co_await std::string("what");
  co_yield 1;
}
