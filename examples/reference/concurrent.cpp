// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/concurrent.hpp>; docs/reference/concurrent.md quotes them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace tornado;

Future<void> cancelled_error() {
  const Future<void> future;
  future.cancel();
  try {
    co_await future;
  } catch (const std::exception&) {
    fmt::print("never printed: a CancelledError is no std::exception\n");
  } catch (const CancelledError& error) {
    fmt::print("{}\n", error.what());
  }
}

void invalid_state_error() {
  const Future<int> future;
  try {
    fmt::print("{}\n", future.result());
  } catch (const InvalidStateError&) {
    fmt::print("not done yet\n");
  }
}

Future<void> states() {
  const Future<int> future;
  fmt::print("running: {}\n", future.running());
  future.set_result(42);
  fmt::print("done: {}, cancelled: {}, result: {}\n", future.done(), future.cancelled(),
             future.result());

  const Future<int> failed;
  failed.set_exception(std::runtime_error("no answer"));
  fmt::print("{}\n", log::describe(failed.exception()));

  const Future<int> older;
  older.set_exc_info(failed.exc_info());
  fmt::print("{}\n", log::describe(older.exc_info()));
  co_return;
}

Future<void> done_callback() {
  const Future<int> future;
  future.add_done_callback([](Future<int> done) { fmt::print("called with {}\n", done.result()); });
  future.set_result(1);
  fmt::print("set\n");
  co_await gen::moment;
}

Future<void> cancel() {
  const Future<void> plain;
  const bool was_pending = plain.cancel();
  fmt::print("was pending: {}, cancelled: {}\n", was_pending, plain.cancelled());

  const Future<void> coroutine = gen::sleep(1h);
  coroutine.cancel();
  fmt::print("cancelled: {}\n", coroutine.cancelled());
  const auto end = co_await gen::settled(coroutine);
  fmt::print("cancelled: {}\n", end.cancelled());
}

void is_it_a_future() { fmt::print("{}, {}\n", is_future(make_ready_future(5)), is_future(5)); }

// An interface asks for a Future; what is known at once needs no coroutine.
Future<int> square_root(int of) {
  if (of == 49) return make_ready_future(7);
  const auto error = std::make_exception_ptr(std::domain_error("only that of 49 is known"));
  return make_exception_future<int>(error);
}

Future<void> ready() {
  const int root = co_await square_root(49);
  const auto other = co_await gen::settled(square_root(50));
  fmt::print("{}; {}\n", root, log::describe(other.error()));
}

void call_at_once() {
  future_add_done_callback(make_ready_future(5), [](const Future<int>& done) {
    fmt::print("{}, inside the call\n", done.result());
  });
}

void unless_cancelled() {
  const Future<int> future;
  future.cancel();
  future_set_result_unless_cancelled(future, 5);  // nothing happens
  const auto error = std::make_exception_ptr(std::runtime_error("too late"));
  future_set_exception_unless_cancelled(future, error);  // is logged
  future_set_exc_info(future, error);                    // the same
}

Future<void> chain() {
  const Future<int> source;
  const Future<int> target;
  chain_future(source, target);
  source.set_result(3);
  const int value = co_await target;
  fmt::print("{}\n", value);
}

Future<void> remote_promise() {
  RemotePromise<int> promise;
  Future<int> answer = promise.get_future();
  std::thread thread([promise = std::move(promise)]() mutable { promise.set_result(42); });
  const int value = co_await std::move(answer);
  thread.join();
  fmt::print("{}\n", value);
}

Future<void> remote_failure() {
  RemotePromise<int> promise;
  Future<int> answer = promise.get_future();
  promise.set_exception(std::make_exception_ptr(std::runtime_error("no answer")));
  const auto end = co_await gen::settled(std::move(answer));
  fmt::print("{}\n", log::describe(end.error()));
}

Future<void> broken_promise() {
  Future<int> answer;
  {
    const RemotePromise<int> dropped;
    answer = dropped.get_future();
  }
  try {
    co_await answer;
  } catch (const std::future_error& error) {
    fmt::print("broken promise: {}\n", error.code() == std::future_errc::broken_promise);
  }
}

int add(int a, int b) { return a + b; }

Future<void> thread_pool() {
  ThreadPoolExecutor executor(2);
  const int sum = co_await executor.submit(add, 2, 3);
  const int other = co_await run_on_executor(executor, add, 3, 4);
  fmt::print("{} {}\n", sum, other);
  executor.shutdown();
}

void dummy() {
  const Future<int> sum = dummy_executor().submit(add, 1, 2);
  fmt::print("{}, done: {}\n", sum.result(), sum.done());
}

// Gives each function a thread of its own.
class ThreadExecutor final : public Executor {
 public:
  ~ThreadExecutor() override {
    for (auto& thread : threads_) thread.join();
  }

 private:
  void execute(std::unique_ptr<Work> work) override {
    threads_.emplace_back([work = std::move(work)] { work->run(); });
  }

  std::vector<std::thread> threads_;
};

Future<void> own_executor() {
  ThreadExecutor executor;
  const int sum = co_await executor.submit(add, 4, 5);
  fmt::print("{}\n", sum);
}

int main() {
  set_log_sink([](const LogRecord& record) { fmt::print("logged: {}\n", record.message); });
  IOLoop& io_loop = IOLoop::current();
  io_loop.run_sync(cancelled_error);
  invalid_state_error();
  io_loop.run_sync(states);
  io_loop.run_sync(done_callback);
  io_loop.run_sync(cancel);
  is_it_a_future();
  io_loop.run_sync(ready);
  call_at_once();
  unless_cancelled();
  io_loop.run_sync(chain);
  io_loop.run_sync(remote_promise);
  io_loop.run_sync(remote_failure);
  io_loop.run_sync(broken_promise);
  io_loop.run_sync(thread_pool);
  dummy();
  io_loop.run_sync(own_executor);
}
