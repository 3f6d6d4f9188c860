// SPDX-License-Identifier: Apache-2.0
//
// Expected: TaskGroup::create_task takes a function that returns a Future, and its arguments
#include "tornado/taskgroup.hpp"

using namespace tornado;

void f(TaskGroup& group) {
  group.create_task([](int) {}, 1);
}
