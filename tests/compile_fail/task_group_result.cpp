// SPDX-License-Identifier: Apache-2.0
//
// Expected: gen::task_group takes a coroutine: Future<void> body(TaskGroup&)
#include "tornado/taskgroup.hpp"

using namespace tornado;

Future<void> f() {
  return gen::task_group([](TaskGroup&) -> Future<int> { co_return 1; });
}
