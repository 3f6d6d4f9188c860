// SPDX-License-Identifier: Apache-2.0
//
// Expected: an executor runs plain functions: a coroutine belongs to its loop's thread
#include "tornado/gen.hpp"

using namespace tornado;

void f(Executor& executor) {
  executor.submit([]() -> Future<int> { co_return 1; });
}
