// SPDX-License-Identifier: Apache-2.0
//
// Executors: functions that run elsewhere. First the ports of Tornado's RunOnExecutorTest.
#include "loop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tornado;
using test::CustomError;

namespace {

/// Something with an executor of its own. Python's decorator is a member that submits.
class Object {
 public:
  Future<int> f() {
    return run_on_executor(executor_, [] { return 42; });
  }

 private:
  ThreadPoolExecutor executor_{1};
};

/// Holds back the threads that come to it until it is opened.
class Gate {
 public:
  Gate() = default;
  ~Gate() { open(); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++reached_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  /// Until so many threads have come.
  void wait_for(int threads) {
    std::unique_lock lock(mutex_);
    const bool came =
        changed_.wait_for(lock, test::async_test_timeout(), [&] { return reached_ >= threads; });
    REQUIRE(came);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int reached_ = 0;
  bool open_ = false;
};

/// Runs what it is given when it is told to, or drops it.
class ManualExecutor final : public Executor {
 public:
  void run_one() {
    const std::unique_ptr<Work> work = std::move(works_.front());
    works_.erase(works_.begin());
    work->run();
  }
  void drop_all() { works_.clear(); }
  std::size_t waiting() const { return works_.size(); }

 private:
  void execute(std::unique_ptr<Work> work) override { works_.push_back(std::move(work)); }

  std::vector<std::unique_ptr<Work>> works_;
};

/// Refuses all work.
class FullExecutor final : public Executor {
 private:
  void execute(std::unique_ptr<Work>) override { throw std::runtime_error("the executor is full"); }
};

}  // namespace

TEST_SUITE("concurrent") {
  // ---- Ports of RunOnExecutorTest -------------------------------------------------------------

  // Python: concurrent_test.RunOnExecutorTest.test_no_calling
  // Python: concurrent_test.RunOnExecutorTest.test_call_with_no_args
  TEST_CASE("RunOnExecutor: a member function that runs on its object's executor") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      Object o;
      const int answer = co_await o.f();
      CHECK(answer == 42);
    });
  }

  // Python: concurrent_test.RunOnExecutorTest.test_call_with_executor
  TEST_CASE("RunOnExecutor: the executor may have any name") {
    test::Loop loop;
    class Other {
     public:
      Future<int> f() { return run_on_executor(other_executor_, &Other::compute, this); }

     private:
      int compute() const { return answer_; }
      int answer_ = 42;
      ThreadPoolExecutor other_executor_{1};
    };
    loop.run([]() -> Future<void> {
      Other o;
      const int answer = co_await o.f();
      CHECK(answer == 42);
    });
  }

  // Python: concurrent_test.RunOnExecutorTest.test_async_await
  TEST_CASE("RunOnExecutor: awaited by a coroutine that is awaited") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      Object o;
      const auto f = [&o]() -> Future<int> {
        const int answer = co_await o.f();
        co_return answer;
      };
      const int result = co_await f();
      CHECK(result == 42);
    });
  }

  // ---- Executor.submit ------------------------------------------------------------------------

  TEST_CASE("Executor.submit: runs elsewhere, and completes its Future on the loop's thread") {
    test::Loop loop;
    ThreadPoolExecutor executor(1);
    const auto here = std::this_thread::get_id();
    const Future<std::thread::id> there =
        executor.submit([] { return std::this_thread::get_id(); });
    std::thread::id completed_on;
    there.add_done_callback([&] {
      completed_on = std::this_thread::get_id();
      loop.stop();
    });
    CHECK_FALSE(there.done());
    executor.shutdown();  // it has run
    CHECK_FALSE(there.done());
    loop.wait();
    CHECK(there.result() != here);
    CHECK(completed_on == here);
  }

  TEST_CASE("Executor.submit: passes copies of the arguments, and moves what only moves") {
    test::Loop loop;
    ManualExecutor executor;
    std::string text = "as it was when it was submitted, and long enough for the heap";
    const auto join = [](const std::string& a, std::unique_ptr<std::string> b) { return a + *b; };
    const Future<std::string> joined =
        executor.submit(join, text, std::make_unique<std::string>("!"));
    text = "changed";
    int number = 1;
    const Future<void> changed = executor.submit([](int& n) { ++n; }, std::ref(number));
    static_assert(
        std::is_same_v<decltype(executor.submit(join, text, nullptr)), Future<std::string>>);
    executor.run_one();
    executor.run_one();
    loop.run([&]() -> Future<void> {
      co_await joined;
      co_await changed;
    });
    CHECK(joined.result() == "as it was when it was submitted, and long enough for the heap!");
    CHECK(number == 2);
  }

  TEST_CASE("Executor.submit: no value, and values that only move") {
    test::Loop loop;
    ThreadPoolExecutor executor(2);
    bool ran = false;
    const Future<void> nothing = executor.submit([&ran] { ran = true; });
    Future<std::unique_ptr<int>> moved = executor.submit([] { return std::make_unique<int>(3); });
    loop.run([&]() -> Future<void> {
      co_await nothing;
      const auto value = co_await std::move(moved);
      CHECK(*value == 3);
    });
    CHECK(ran);
  }

  TEST_CASE("Executor.submit: what the function throws is what the Future fails with") {
    test::Loop loop;
    ThreadPoolExecutor executor(1);
    const Future<int> failed = executor.submit([]() -> int { throw CustomError("in the thread"); });
    loop.run([&]() -> Future<void> {
      bool caught = false;
      try {
        co_await failed;
      } catch (const CustomError& e) {
        caught = e.what() == std::string("in the thread");
      }
      CHECK(caught);
      const int after = co_await executor.submit([] { return 1; });  // the thread goes on
      CHECK(after == 1);
    });
  }

  TEST_CASE("Executor.submit: an error that nobody looks at is logged") {
    test::Loop loop;
    ManualExecutor executor;
    const test::ExpectLog expected(log::app_log, "CustomError: lost");
    executor.submit([] { throw CustomError("lost"); });
    executor.run_one();
    loop.iterate(2);
    CHECK(expected.count() == 1);
  }

  TEST_CASE("Executor.submit: work that is dropped breaks its promise") {
    test::Loop loop;
    ManualExecutor executor;
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    const Future<int> dropped = executor.submit([token = std::move(token)] { return 1; });
    CHECK(executor.waiting() == 1);
    executor.drop_all();
    CHECK(watch.expired());
    CHECK_FALSE(dropped.done());
    loop.iterate(2);
    REQUIRE(dropped.done());
    CHECK_THROWS_AS(dropped.result(), std::future_error);

    // When nobody waits for it that is no error worth a log line.
    executor.submit([] { return 1; });
    executor.drop_all();
    loop.iterate(2);
  }

  TEST_CASE("Executor.submit: an executor that refuses work throws from the call, and only that") {
    test::Loop loop;
    FullExecutor executor;
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    CHECK_THROWS_WITH_AS(executor.submit([token = std::move(token)] {}), "the executor is full",
                         std::runtime_error);
    CHECK(watch.expired());
    loop.iterate(2);  // logs nothing
  }

  TEST_CASE("Executor.submit: cancelled, the function still runs, its result is dropped") {
    test::Loop loop;
    ManualExecutor executor;
    bool ran = false;
    const Future<int> future = executor.submit([&ran] {
      ran = true;
      return 1;
    });
    CHECK(future.cancel());
    CHECK(future.cancelled());
    CHECK_FALSE(ran);
    executor.run_one();
    CHECK(ran);
    loop.iterate(2);
    CHECK(future.cancelled());
  }

  TEST_CASE("Executor.submit: cancelled, the function's error is logged, being dropped is none") {
    test::Loop loop;
    ManualExecutor executor;
    {
      const test::ExpectLog expected(log::app_log, "CustomError: too late");
      const Future<void> future = executor.submit([] { throw CustomError("too late"); });
      future.cancel();
      executor.run_one();
      loop.iterate(2);
      CHECK(expected.count() == 1);
    }
    const Future<void> future = executor.submit([] {});
    future.cancel();
    executor.drop_all();
    loop.iterate(2);
    CHECK(future.cancelled());
  }

  TEST_CASE("Executor.submit: a coroutine that waits for it can be cancelled at once") {
    test::Loop loop;
    Gate gate;
    std::atomic<bool> ran = false;
    ThreadPoolExecutor executor(1);
    const auto f = [&]() -> Future<void> {
      const auto work = [&] {
        gate.pass();
        ran = true;
      };
      co_await executor.submit(work);
    };
    const Future<void> future = f();
    gate.wait_for(1);
    future.cancel();
    loop.iterate(2);
    CHECK(future.cancelled());
    CHECK_FALSE(ran);
    gate.open();
    executor.shutdown();
    CHECK(ran);
    loop.iterate(2);
  }

  TEST_CASE("Executor.submit: a result that comes after the loop was closed is dropped quietly") {
    Gate gate;
    ThreadPoolExecutor executor(3);
    std::optional<Future<int>> result;
    std::optional<Future<int>> error;
    {
      test::Loop loop;
      result = executor.submit([&gate] {
        gate.pass();
        return 1;
      });
      error = executor.submit([&gate]() -> int {
        gate.pass();
        throw CustomError("after the loop");
      });
      executor.submit([&gate] { gate.pass(); });
      gate.wait_for(3);
    }
    CHECK(result->cancelled());
    CHECK(error->cancelled());
    gate.open();
    executor.shutdown();
    CHECK(result->cancelled());
    CHECK(error->cancelled());
  }

  TEST_CASE("Executor.submit: work that is dropped after the loop was closed says nothing") {
    ManualExecutor executor;
    std::optional<Future<int>> future;
    {
      test::Loop loop;
      future = executor.submit([] { return 1; });
    }
    executor.drop_all();
    CHECK(future->cancelled());
  }

  TEST_CASE("Executor.submit: two loops share one executor, each gets its own results") {
    ThreadPoolExecutor executor(2);
    std::atomic<int> sum = 0;
    const auto use = [&executor, &sum](int first) {
      test::Loop loop;
      const auto thread = std::this_thread::get_id();
      loop.run([&]() -> Future<void> {
        for (int i = 0; i < 200; ++i) {
          const auto next = [first, i] { return first + i; };
          const int got = co_await executor.submit(next);
          if (got == first + i && std::this_thread::get_id() == thread) ++sum;
        }
      });
    };
    std::thread other([&] { use(1000); });
    use(0);
    other.join();
    CHECK(sum == 400);
  }

  // ---- ThreadPoolExecutor ---------------------------------------------------------------------

  TEST_CASE("ThreadPoolExecutor: with no threads it is refused") {
    CHECK_THROWS_AS(ThreadPoolExecutor(0), std::invalid_argument);
  }

  TEST_CASE("ThreadPoolExecutor: as many functions run at a time as there are threads") {
    test::Loop loop;
    Gate gate;
    ThreadPoolExecutor executor(3);
    std::atomic<int> begun = 0;
    std::vector<Future<void>> all;
    for (int i = 0; i < 5; ++i) {
      all.push_back(executor.submit([&] {
        ++begun;
        gate.pass();
      }));
    }
    gate.wait_for(3);
    CHECK(begun == 3);  // the others cannot begin while none of these ends
    gate.open();
    loop.run([&] { return gen::multi(all); });
    CHECK(begun == 5);
  }

  TEST_CASE("ThreadPoolExecutor: one thread runs them in the order in which they come") {
    test::Loop loop;
    ThreadPoolExecutor executor(1);
    std::vector<int> order;
    std::vector<int> completed;
    std::vector<Future<void>> all;
    for (int i = 0; i < 100; ++i) {
      all.push_back(executor.submit([&order, i] { order.push_back(i); }));
      all.back().add_done_callback([&completed, i] { completed.push_back(i); });
    }
    loop.run([&] { return gen::multi(all); });
    std::vector<int> expected;
    for (int i = 0; i < 100; ++i) expected.push_back(i);
    CHECK(order == expected);
    CHECK(completed == expected);
  }

  TEST_CASE("ThreadPoolExecutor.shutdown: waits until what it has has run, and takes no more") {
    test::Loop loop;
    ThreadPoolExecutor executor(1);
    int ran = 0;
    std::vector<Future<void>> all;
    for (int i = 0; i < 50; ++i) all.push_back(executor.submit([&ran] { ++ran; }));
    executor.shutdown();
    CHECK(ran == 50);
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    CHECK_THROWS_AS(executor.submit([token = std::move(token)] {}), std::runtime_error);
    CHECK(watch.expired());
    loop.run([&] { return gen::multi(all); });  // their results still come
    executor.shutdown();                        // harmless
    loop.iterate(2);                            // logs nothing
  }

  TEST_CASE("ThreadPoolExecutor: its destructor waits for what it has") {
    test::Loop loop;
    std::optional<Future<int>> future;
    int ran = 0;
    {
      ThreadPoolExecutor executor(2);
      executor.submit([] {});
      future = executor.submit([&ran] { return ++ran; });
    }
    CHECK(ran == 1);
    CHECK(loop.run([&] { return *future; }) == 1);
  }

  TEST_CASE("ThreadPoolExecutor: eight threads' thousands of results all arrive") {
    test::Loop loop;
    ThreadPoolExecutor executor(8);
    std::vector<Future<int>> all;
    for (int i = 0; i < 2000; ++i) all.push_back(executor.submit([i] { return i; }));
    const std::vector<int> results = loop.run([&] { return gen::multi(all); });
    for (int i = 0; i < 2000; ++i) CHECK(results[static_cast<std::size_t>(i)] == i);
  }

  // ---- DummyExecutor --------------------------------------------------------------------------

  TEST_CASE("DummyExecutor.submit: runs at once, on this thread, and is done when it returns") {
    const auto here = std::this_thread::get_id();
    const auto there = dummy_executor().submit([] { return std::this_thread::get_id(); });
    REQUIRE(there.done());
    CHECK(there.result() == here);
    const auto sum = dummy_executor().submit([](int a, int b) { return a + b; }, 1, 2);
    CHECK(sum.result() == 3);
    bool ran = false;
    CHECK(dummy_executor().submit([&ran] { ran = true; }).done());
    CHECK(ran);
    CHECK(&dummy_executor() == &dummy_executor());
  }

  TEST_CASE("DummyExecutor.submit: what the function throws is in the Future") {
    DummyExecutor executor;
    const auto failed = executor.submit([]() -> int { throw CustomError("at once"); });
    REQUIRE(failed.done());
    CHECK_THROWS_WITH_AS(failed.result(), "at once", CustomError);
  }

  TEST_CASE("DummyExecutor: as an Executor like any other it runs at once, too") {
    test::Loop loop;
    Executor& executor = dummy_executor();
    bool ran = false;
    const Future<int> future = executor.submit([&ran] {
      ran = true;
      return 4;
    });
    CHECK(ran);
    CHECK(loop.run([&] { return future; }) == 4);
  }

  // ---- run_on_executor ------------------------------------------------------------------------

  TEST_CASE("run_on_executor: is the executor's submit, with arguments, of whatever executor") {
    test::Loop loop;
    const auto add = [](int a, int b) { return a + b; };
    CHECK(run_on_executor(dummy_executor(), add, 1, 2).result() == 3);
    ManualExecutor manual;
    const Future<int> later = run_on_executor(manual, add, 3, 4);
    CHECK(manual.waiting() == 1);
    manual.run_one();
    CHECK(loop.run([&] { return later; }) == 7);
    ThreadPoolExecutor pool(1);
    Executor& any = pool;
    CHECK(loop.run([&] { return run_on_executor(any, add, 5, 6); }) == 11);
  }
}
