// SPDX-License-Identifier: Apache-2.0
//
// IOLoop::run_in_executor.
#include "ioloop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;

namespace {

// What a thread waits for: Python's threading.Event.
class Event {
 public:
  void set() { promise_.set_value(); }
  void wait() { future_.wait(); }

 private:
  std::promise<void> promise_;
  std::shared_future<void> future_{promise_.get_future()};
};

Event* meet(Event* mine, Event* other) {
  mine->set();
  other->wait();
  return mine;
}

class CountingExecutor final : public Executor {
 public:
  int count = 0;

 private:
  void execute(std::unique_ptr<Work> work) override {
    ++count;
    work->run();
  }
};

}  // namespace

TEST_SUITE("ioloop") {
  // First, since the thread sanitizer wants no fork after there were threads.

  TEST_CASE("IOLoop: the end of the program waits for what its executor runs") {
    const test::Child child = test::run_in_child([] {
      static std::promise<void> begun;
      static std::promise<void> exit_began;
      static std::promise<void> exit_went_on;
      // Called in reverse order: this one behind the executor's waiting, the other before it.
      std::atexit([] { exit_went_on.set_value(); });
      {
        IOLoop loop;
        static_cast<void>(loop.run_in_executor(nullptr, [] {
          begun.set_value();
          exit_began.get_future().wait();
          // What must not happen has some time to do so.
          const auto end = exit_went_on.get_future().wait_for(20ms);
          std::fputs(end == std::future_status::timeout ? "ran to the end\n" : "left behind\n",
                     stderr);
        }));
        begun.get_future().wait();
      }
      std::fputs("the loop has gone\n", stderr);
      std::atexit([] { exit_began.set_value(); });
      std::exit(0);
    });
    CHECK(child.succeeded());
    CHECK(child.text == "the loop has gone\nran to the end\n");
  }

  TEST_CASE("IOLoop: a loop that a function on its executor closes, or a static object") {
    const test::Child child = test::run_in_child([] {
      // Made before the executor, which waits for its functions at the end of the program.
      static std::promise<void> exit_began;
      static std::unique_ptr<IOLoop> loop = std::make_unique<IOLoop>(IOLoop::MakeCurrent::never);
      static std::promise<void> go;  // the loop is this thread's until then
      static std::promise<void> closed;
      static_cast<void>(loop->run_in_executor(nullptr, [] {
        go.get_future().wait();
        loop.reset();
        closed.set_value();
      }));
      go.set_value();
      closed.get_future().wait();
      static IOLoop second(IOLoop::MakeCurrent::never);
      static_cast<void>(second.run_in_executor(nullptr, [] { exit_began.get_future().wait(); }));
      std::atexit([] { exit_began.set_value(); });
      std::exit(0);
    });
    CHECK_MESSAGE(child.succeeded(), child.text);
    CHECK(child.text.empty());
  }

  // Python: ioloop_test.TestIOLoopFutures.test_run_in_executor_gen
  TEST_CASE("IOLoop.run_in_executor: two functions that wait for each other") {
    test::Loop loop;
    Event event1;
    Event event2;
    const std::vector<Event*> met = loop.run([&]() -> Future<std::vector<Event*>> {
      std::vector<Future<Event*>> both;
      both.push_back(IOLoop::current().run_in_executor(nullptr, meet, &event1, &event2));
      both.push_back(IOLoop::current().run_in_executor(nullptr, meet, &event2, &event1));
      return gen::multi(std::move(both));
    });
    CHECK(met == std::vector{&event1, &event2});
  }

  // Python: ioloop_test.TestIOLoopFutures.test_run_in_executor_native
  TEST_CASE("IOLoop.run_in_executor: awaited by coroutines, with functions that meet") {
    test::Loop loop;
    Event event1;
    Event event2;
    const auto wrapper = [](Event* mine, Event* other) -> Future<Event*> {
      co_return co_await IOLoop::current().run_in_executor(nullptr, meet, mine, other);
    };
    const std::vector<Event*> met = loop.run([&]() -> Future<std::vector<Event*>> {
      std::vector<Future<Event*>> both;
      both.push_back(wrapper(&event1, &event2));
      both.push_back(wrapper(&event2, &event1));
      return gen::multi(std::move(both));
    });
    CHECK(met == std::vector{&event1, &event2});
  }

  // Python: ioloop_test.TestIOLoopFutures.test_set_default_executor
  TEST_CASE("IOLoop.set_default_executor: its threads run the functions") {
    test::Loop loop;
    bool ran = false;
    auto executor = std::make_shared<CountingExecutor>();
    loop.set_default_executor(executor);
    loop.run([&] { return loop.run_in_executor(nullptr, [&] { ran = true; }); });
    CHECK(ran);
    CHECK(executor->count == 1);
    loop.set_default_executor(nullptr);
    loop.run([&] { return loop.run_in_executor(nullptr, [] {}); });
    CHECK(executor->count == 1);
    CHECK(executor.use_count() == 1);
    loop.set_default_executor(executor);
    loop.close();
    CHECK(executor.use_count() == 1);
  }

  TEST_CASE("IOLoop.run_in_executor: gives value and error to the loop's thread (L27)") {
    test::Loop loop;
    ThreadPoolExecutor pool(2);
    const std::thread::id here = std::this_thread::get_id();
    loop.run([&]() -> Future<void> {
      const int sum = co_await loop.run_in_executor(
          pool, [](int a, int b) { return a + b; }, 20, 22);
      CHECK(sum == 42);
      const std::thread::id there = co_await loop.run_in_executor(&pool, std::this_thread::get_id);
      CHECK(there != here);
      CHECK(std::this_thread::get_id() == here);
      auto moved = std::make_unique<int>(7);
      auto back = co_await loop.run_in_executor(
          nullptr, [](std::unique_ptr<int> p) { return p; }, std::move(moved));
      CHECK(*back == 7);
      bool failed = false;
      try {
        co_await loop.run_in_executor(nullptr, [] { throw CustomError("broken"); });
      } catch (const CustomError&) {
        failed = std::this_thread::get_id() == here;
      }
      CHECK(failed);
    });
  }

  TEST_CASE("IOLoop.run_in_executor: the result is that loop's, whichever loop is current") {
    test::Loop current;
    test::Loop loop(IOLoop::MakeCurrent::never);
    Future<int> answer = loop.run_in_executor(nullptr, [] { return 42; });
    CHECK(&IOLoop::current() == &current);
    const int got = loop.run_sync([&]() -> Future<int> { co_return co_await answer; });
    CHECK(got == 42);
    current.add_callback([&] {
      CHECK_THROWS_WITH_AS(loop.run_in_executor(nullptr, [] {}),
                           "IOLoop::run_in_executor: another loop is running on this thread",
                           std::logic_error);
      current.stop();
    });
    current.wait();
    loop.close();
    CHECK_THROWS_WITH_AS(loop.run_in_executor(nullptr, [] {}),
                         "IOLoop::run_in_executor: the loop has been closed", std::logic_error);
  }

  TEST_CASE("IOLoop.run_in_executor: five functions for each processor run at a time") {
    const int size = 5 * static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    test::Loop loop;
    std::latch all(size);  // opens only if all are there
    std::atomic<int> late{0};
    std::vector<Future<void>> futures;
    for (int i = 0; i < size; ++i) {
      futures.push_back(loop.run_in_executor(nullptr, [&] { all.arrive_and_wait(); }));
    }
    for (int i = 0; i < 100; ++i) {
      futures.push_back(loop.run_in_executor(nullptr, [&] { ++late; }));
    }
    loop.run([&] { return gen::multi(futures); });
    CHECK(late == 100);
  }

  TEST_CASE("IOLoop.run_in_executor: threads are started when they are needed, and used again") {
    test::Loop loop;
    std::set<std::thread::id> threads;
    loop.run([&]() -> Future<void> {
      for (int i = 0; i < 20; ++i) {
        threads.insert(co_await loop.run_in_executor(nullptr, std::this_thread::get_id));
      }
    });
    // A thread that has just sent its result may not be idle yet.
    CHECK(threads.size() <= 5 * std::max(1U, std::thread::hardware_concurrency()));
  }

  TEST_CASE("IOLoop.close: does not wait for a long function, whose result is dropped (L27)") {
    // Shared, as the function runs on: this frame may be gone then.
    struct Shared {
      Event begun, go, ended;
      std::atomic<int> queued{0};
    };
    const auto shared = std::make_shared<Shared>();
    const int size = 5 * static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    {
      test::Loop loop;
      bool told = false;
      Future<std::string> answer = loop.run_in_executor(nullptr, [shared] {
        shared->begun.set();
        shared->go.wait();
        return std::string("too late");
      });
      answer.add_done_callback([&] { told = true; });
      for (int i = 1; i < size; ++i) {
        static_cast<void>(loop.run_in_executor(nullptr, [shared] { shared->go.wait(); }));
      }
      for (int i = 0; i < 10; ++i) {
        static_cast<void>(loop.run_in_executor(nullptr, [shared] { ++shared->queued; }));
      }
      shared->begun.wait();
      loop.close();  // returns
      CHECK(answer.cancelled());
      CHECK_FALSE(told);
    }
    shared->go.set();
    // The last thread lets go of it.
    while (shared.use_count() > 1) std::this_thread::yield();
    CHECK(shared->queued <= 10);
  }

  TEST_CASE("IOLoop.close: functions that have not begun never will, and say nothing (L27)") {
    struct Shared {
      std::promise<void> go;
      std::shared_future<void> gone{go.get_future()};
      std::atomic<int> queued{0};
    };
    const auto shared = std::make_shared<Shared>();
    const int size = 5 * static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    auto all = std::make_shared<std::latch>(size + 1);
    test::Loop loop;
    for (int i = 0; i < size; ++i) {
      static_cast<void>(loop.run_in_executor(nullptr, [shared, all] {
        all->arrive_and_wait();
        shared->gone.wait();
      }));
    }
    static_cast<void>(loop.run_in_executor(nullptr, [shared] { ++shared->queued; }));
    all->arrive_and_wait();  // every thread is busy
    loop.close();
    shared->go.set_value();
    while (shared.use_count() > 1) std::this_thread::yield();
    CHECK(shared->queued == 0);
  }
}
