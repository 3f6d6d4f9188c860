// SPDX-License-Identifier: Apache-2.0
//
// Expected: a coroutine that returns Future<T> has to co_return what a T can be made of
#include "tornado/gen.hpp"

#include <string>

using namespace tornado;

Future<int> f() {
  co_await gen::moment;
  co_return std::string("text");
}
