// SPDX-License-Identifier: Apache-2.0
//
// Waiting for results of the loop: run_sync, add_future, submit.
#include "loop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"
#include "tornado/submit.hpp"
#include "tornado/util.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;

TEST_SUITE("ioloop") {
  // ---- run_sync -------------------------------------------------------------------------------

  TEST_CASE("IOLoop.run_sync: a plain value is returned as it is, which Python refuses (L19)") {
    test::Loop loop;
    CHECK(loop.run_sync([] { return 42; }) == 42);
    loop.run_sync([] {});
    CHECK(*loop.run_sync([] { return std::make_unique<int>(1); }) == 1);
    CHECK(loop.run_sync([value = std::string("moved")]() mutable { return std::move(value); }) ==
          "moved");
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_sync_exception
  TEST_CASE("IOLoop.run_sync: throws what the function throws (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> int { throw CustomError("plain"); }), "plain",
                         CustomError);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> Future<int> { throw CustomError("no coroutine"); }),
                         "no coroutine", CustomError);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> Future<void> {
      const int nothing = 0;
      if (nothing == 0) throw CustomError("before the first suspension");
      co_return;
    }),
                         "before the first suspension", CustomError);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_async_result
  TEST_CASE("IOLoop.run_sync: returns the coroutine's value (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    const int result = loop.run_sync([]() -> Future<int> {
      co_await gen::moment;
      co_return 42;
    });
    CHECK(result == 42);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_async_exception
  TEST_CASE("IOLoop.run_sync: throws what the coroutine throws (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> Future<void> {
      co_await gen::moment;
      throw CustomError("after it");
    }),
                         "after it", CustomError);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_current
  TEST_CASE("IOLoop.run_sync: its loop is current meanwhile") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    CHECK(loop.run_sync([] { return &IOLoop::current(); }) == &loop);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_timeout
  TEST_CASE("IOLoop.run_sync: after the timeout it throws, and cancels what it waited for (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    bool cancelled = false;
    const auto f = [&]() -> Future<void> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        cancelled = true;
        throw;
      }
    };
    CHECK_THROWS_AS(loop.run_sync(f, 10ms), TimeoutError);
    CHECK(cancelled);
    CHECK_THROWS_AS(loop.run_sync([]() -> Future<void> { return Future<void>(); }, 0s),
                    TimeoutError);
  }

  TEST_CASE("IOLoop.run_sync: a coroutine that declines to be cancelled may still answer (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    const auto f = [&]() -> Future<int> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
      }
      co_await gen::moment;
      co_return 7;
    };
    CHECK(loop.run_sync(f, 1ms) == 7);
  }

  TEST_CASE("IOLoop.run_sync: the timer of one that ended does not disturb the next") {
    test::Loop loop;
    CHECK(loop.run_sync([] { return 1; }, 1ms) == 1);
    CHECK(loop.run_sync([]() -> Future<int> {
      co_await gen::sleep(5ms);
      co_return 2;
    }) == 2);
  }

  // Coroutines of all of Python's kinds are the same thing here: one that awaits another.
  // Python: ioloop_test.TestIOLoopRunSync.test_native_coroutine
  TEST_CASE("IOLoop.run_sync: runs a coroutine that awaits a coroutine") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    bool finished = false;
    const auto f1 = []() -> Future<void> { co_await gen::moment; };
    const auto f2 = [&]() -> Future<void> {
      co_await f1();
      finished = true;
    };
    loop.run_sync(f2);
    CHECK(finished);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_stop_no_timeout
  TEST_CASE("IOLoop.run_sync: when the loop is stopped before the end, the error says so (L20)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    const Future<void> gate;
    int ended = 0;
    const auto f = [&]() -> Future<void> {
      co_await gen::sleep(1ms);
      IOLoop::current().stop();
      co_await gate;
      ++ended;
    };
    CHECK_THROWS_WITH_AS(loop.run_sync(f), doctest::Contains("stopped before"), std::logic_error);
    CHECK_THROWS_WITH_AS(loop.run_sync(f, 1h), doctest::Contains("stopped before"),
                         std::logic_error);
    CHECK(ended == 0);
    // What went on since then does not stop the loop for those who run it next.
    CHECK(loop.run_sync([&]() -> Future<int> {
      gate.set_result();
      for (int i = 0; i < 3; ++i) co_await gen::moment;
      co_return ended;
    }) == 2);
  }

  TEST_CASE("IOLoop.run_sync: refused in a running loop, and then nothing of it happens") {
    test::Loop loop;
    bool refused = false;
    bool called = false;
    loop.add_callback([&] {
      try {
        loop.run_sync([&] { called = true; });
      } catch (const std::logic_error&) {
        refused = true;
      }
    });
    loop.iterate(5);
    CHECK(refused);
    CHECK_FALSE(called);
  }

  TEST_CASE(
      "IOLoop.run_sync: a stop that was asked for before is an error, and nothing runs later") {
    test::Loop loop;
    bool called = false;
    loop.stop();
    CHECK_THROWS_WITH_AS(loop.run_sync([&] { called = true; }), doctest::Contains("stopped before"),
                         std::logic_error);
    loop.iterate(5);
    CHECK_FALSE(called);
  }

  TEST_CASE("IOLoop.run_sync: keeps a capturing coroutine lambda alive") {
    test::Loop loop;
    auto token = std::make_shared<int>(8);
    const std::weak_ptr<int> watch = token;
    const int result = loop.run([token = std::move(token)]() -> Future<int> {
      co_await gen::moment;
      co_return *token;
    });
    CHECK(result == 8);
    CHECK(watch.expired());
  }

  // ---- add_future, submit ---------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoopFutures.test_add_future_threads
  TEST_CASE("IOLoop.add_future: with a Future that another thread completes") {
    test::Loop loop;
    RemotePromise<void> promise;
    std::optional<Future<void>> future;
    loop.add_future(promise.get_future(), [&](Future<void> f) {
      future = std::move(f);
      loop.stop();
    });
    std::thread thread([&] { promise.set_result(); });
    loop.wait();
    thread.join();
    REQUIRE(future.has_value());
    CHECK(future->done());
    future->result();
  }

  TEST_CASE("IOLoop.add_future: keeps the Future, and the error counts as looked at when it is") {
    test::Loop loop;
    std::string seen;
    {
      const auto f = []() -> Future<int> {
        co_await gen::moment;
        throw CustomError("kept");
      };
      loop.add_future(f(), [&](const Future<int>& future) {
        seen = log::describe(future.exception());
        loop.stop();
      });
    }
    loop.wait();
    CHECK(seen.find("CustomError: kept") != seen.npos);
  }

  TEST_CASE("IOLoop.submit: gives a thread without a loop the result") {
    test::Loop loop;
    std::thread::id called_on;
    std::vector<std::string> seen;
    std::thread thread([&] {
      const int value = loop.submit(
                                [&](int a, int b) {
                                  called_on = std::this_thread::get_id();
                                  return a + b;
                                },
                                40, 2)
                            .get();
      seen.push_back(std::to_string(value));
      seen.push_back(loop.submit(
                             [](std::string text) -> Future<std::string> {
                               co_await gen::moment;
                               co_return text + " from a coroutine";
                             },
                             "text")
                         .get());
      loop.submit([] {}).get();
      loop.submit([]() -> Future<void> { co_await gen::sleep(1ms); }).get();
      seen.push_back(std::to_string(*loop.submit([] { return std::make_unique<int>(9); }).get()));
      try {
        loop.submit([]() -> int { throw CustomError("thrown"); }).get();
      } catch (const CustomError& e) {
        seen.push_back(e.what());
      }
      try {
        loop.submit([]() -> Future<int> {
              co_await gen::moment;
              throw CustomError("thrown by a coroutine");
            })
            .get();
      } catch (const CustomError& e) {
        seen.push_back(e.what());
      }
      loop.add_callback([&] { loop.stop(); });
    });
    loop.wait();
    thread.join();
    CHECK(called_on == std::this_thread::get_id());
    CHECK(seen == std::vector<std::string>{"42", "text from a coroutine", "9", "thrown",
                                           "thrown by a coroutine"});
  }

  TEST_CASE("IOLoop.submit: a capturing coroutine lambda is kept alive") {
    test::Loop loop;
    std::future<int> answer;
    std::thread thread([&] {
      answer = loop.submit([p = std::make_unique<int>(6)]() -> Future<int> {
        co_await gen::sleep(1ms);
        co_return *p;
      });
      answer.wait();
      loop.add_callback([&] { loop.stop(); });
    });
    loop.wait();
    thread.join();
    CHECK(answer.get() == 6);
  }

  TEST_CASE("IOLoop.submit: fails with a broken promise when the loop is closed first") {
    std::optional<test::Loop> loop(std::in_place);
    std::future<int> not_begun;
    std::future<void> begun;
    std::promise<void> running;
    std::thread thread([&] {
      begun = loop->submit([&]() -> Future<void> {
        running.set_value();
        co_await gen::sleep(1h);
      });
      running.get_future().wait();
      loop->add_callback([&] { loop->stop(); });
    });
    loop->wait();
    thread.join();
    not_begun = loop->submit([] { return 1; });
    loop.reset();
    CHECK_THROWS_AS(not_begun.get(), std::future_error);
    CHECK_THROWS_AS(begun.get(), std::future_error);
  }

  TEST_CASE("IOLoop.submit: from eight threads") {
    test::Loop loop;
    std::atomic<int> sum = 0;
    std::atomic<int> finished = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) {
          sum += loop.submit(
                         [](int n) -> Future<int> {
                           co_await gen::moment;
                           co_return n;
                         },
                         i)
                     .get();
        }
        if (++finished == 8) loop.add_callback([&] { loop.stop(); });
      });
    }
    loop.wait();
    for (auto& thread : threads) thread.join();
    CHECK(sum == 8 * 4950);
  }
}
