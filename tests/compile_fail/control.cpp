// SPDX-License-Identifier: Apache-2.0
//
// Expected: no error
//
// The calls of the other files, as they should be. That these compile shows that the others fail
// for the reason that is looked for.
#include "tornado/tornado.hpp"

#include <string>

using namespace tornado;
using namespace std::chrono_literals;

Future<int> coroutine(int value) {
  co_await gen::sleep(5s);
  co_return co_await make_ready_future(value);
}

gen::AsyncGenerator<std::string> generator() {
  co_await gen::moment;
  co_yield "text";
}

void f(IOLoop& loop, TaskGroup& group, Executor& executor, const Future<int>& future) {
  future.add_done_callback([](const Future<int>&) {});
  loop.add_future(future, [](const Future<int>&) {});
  loop.add_callback([](int) {}, 1);
  loop.call_later(
      1s, [](int, int) {}, 1, 2);
  future.set_result(1);
  group.create_task(coroutine, 1);
  executor.submit([] { return 1; });
  static_cast<void>(gen::timeout_after(1s, coroutine, 1));
  static_cast<void>(gen::task_group([](TaskGroup&) -> Future<void> { co_return; }));
  loop.run_sync([] { return coroutine(1); });
}
