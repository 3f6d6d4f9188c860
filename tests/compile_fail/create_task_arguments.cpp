// SPDX-License-Identifier: Apache-2.0
//
// Expected: the callback cannot be called with the arguments given for it
#include "tornado/taskgroup.hpp"

using namespace tornado;

void f(TaskGroup& group) {
  group.create_task([](int value) -> Future<int> { co_return value; });
}
