// SPDX-License-Identifier: Apache-2.0
//
// Waiting no longer than to a deadline.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"
#include "tornado/util.hpp"

#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::async_future;
using test::CustomError;
using test::error_of;
using test::KeyError;
using test::list;
using test::ZeroDivisionError;

TEST_SUITE("gen") {
  // ---- with_timeout ---------------------------------------------------------------------------

  // Python: gen_test.WithTimeoutTest.test_timeout
  TEST_CASE("gen.with_timeout: TimeoutError when nothing comes in time (G17)") {
    test::Loop loop;
    const auto before = IOLoop::Clock::now();
    CHECK_THROWS_AS(loop.run([] { return gen::with_timeout(10ms, Future<int>()); }),
                    gen::TimeoutError);
    CHECK(IOLoop::Clock::now() >= before + 10ms);
    static_assert(std::is_same_v<gen::TimeoutError, tornado::TimeoutError>);
    static_assert(std::is_same_v<gen::TimeoutError, util::TimeoutError>);
  }

  // Python: gen_test.WithTimeoutTest.test_completes_before_timeout
  TEST_CASE("gen.with_timeout: the result when it comes in time (G7)") {
    test::Loop loop;
    const Future<std::string> future;
    loop.add_timeout(10ms, [=] { future.set_result("asdf"); });
    CHECK(loop.run([&] { return gen::with_timeout(1h, future); }) == "asdf");
  }

  // Python: gen_test.WithTimeoutTest.test_fails_before_timeout
  TEST_CASE("gen.with_timeout: the error when it comes in time") {
    test::Loop loop;
    const Future<std::string> future;
    loop.add_timeout(10ms, [=] { future.set_exception(ZeroDivisionError()); });
    CHECK_THROWS_AS(loop.run([&] { return gen::with_timeout(1h, future); }), ZeroDivisionError);
  }

  // Python: gen_test.WithTimeoutTest.test_already_resolved
  TEST_CASE("gen.with_timeout: at once when the Future is done (G7)") {
    test::Loop loop;
    const Future<std::string> future;
    future.set_result("asdf");
    const Future<std::string> in_time = gen::with_timeout(1h, future);
    CHECK(in_time.done());
    CHECK(loop.run([&] { return in_time; }) == "asdf");
    CHECK(gen::with_timeout(-1h, future).result() == "asdf");
    CHECK(gen::with_timeout(1h, make_ready_future()).done());
  }

  // What Python does with a concurrent.futures.Future, a RemotePromise does here.
  // Python: gen_test.WithTimeoutTest.test_timeout_concurrent_future
  TEST_CASE("gen.with_timeout: TimeoutError when another thread is late") {
    test::Loop loop;
    RemotePromise<void> promise;
    const Future<void> future = promise.get_future();
    CHECK_THROWS_AS(loop.run([&] { return gen::with_timeout(IOLoop::Clock::now(), future); }),
                    gen::TimeoutError);
    std::thread thread([&] { promise.set_result(); });
    thread.join();
    loop.iterate();
    CHECK(future.done());
  }

  // Python: gen_test.WithTimeoutTest.test_completed_concurrent_future
  TEST_CASE("gen.with_timeout: what another thread has completed") {
    test::Loop loop;
    RemotePromise<int> promise;
    const Future<int> future = promise.get_future();
    std::thread thread([&] { promise.set_result(1); });
    thread.join();
    CHECK(loop.run([&] { return gen::with_timeout(1h, future); }) == 1);
  }

  // Python: gen_test.WithTimeoutTest.test_normal_concurrent_future
  TEST_CASE("gen.with_timeout: what another thread completes meanwhile") {
    test::Loop loop;
    RemotePromise<int> promise;
    const Future<int> future = promise.get_future();
    std::thread thread;
    const int result = loop.run([&] {
      auto waiting = gen::with_timeout(1h, future);
      thread = std::thread([&] { promise.set_result(2); });
      return waiting;
    });
    thread.join();
    CHECK(result == 2);
  }

  TEST_CASE("gen.with_timeout: does not cancel what it waited for, and logs a late failure (G6)") {
    test::Loop loop;
    const Future<void> gate;
    bool went_on = false;
    const auto f = [&]() -> Future<void> {
      co_await gate;
      went_on = true;
      throw CustomError("late");
    };
    CHECK(loop.run([&] { return error_of(gen::with_timeout(1ms, f())); }) == "Timeout");
    CHECK_FALSE(gate.done());
    gate.set_result();
    const test::ExpectLog expected(log::app_log, "CustomError: late");
    loop.iterate(2);
    CHECK(went_on);
    CHECK(expected.count() == 1);
  }

  TEST_CASE(
      "gen.with_timeout: a late failure that is quiet, or a cancellation, is not logged (G6)") {
    test::Loop loop;
    const Future<void> quiet;
    const Future<void> cancelled;
    const Future<void> loud;
    const auto wait = [&](Future<void> future, gen::Quiet which) {
      return loop.run([&] { return error_of(gen::with_timeout(0s, future, which)); });
    };
    CHECK(wait(quiet, gen::quiet<KeyError, CustomError>) == "Timeout");
    CHECK(wait(cancelled, nullptr) == "Timeout");
    CHECK(wait(loud, gen::quiet<KeyError>) == "Timeout");
    const test::ExpectLog expected(log::app_log, "CustomError: loud");
    quiet.set_exception(CustomError("quiet"));
    cancelled.cancel();
    loud.set_exception(CustomError("loud"));
    loop.iterate();
    CHECK(expected.count() == 1);
  }

  TEST_CASE("gen.with_timeout: takes whatever can be awaited (G8)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const std::vector<int> from_list =
          co_await gen::with_timeout(1h, list(async_future(1), async_future(2)));
      CHECK(from_list == std::vector{1, 2});
      const int from_ticket = co_await gen::with_timeout(1h, user::Ticket{3});
      CHECK(from_ticket == 3);
      co_await gen::with_timeout(1h, gen::moment);
      const auto from_tuple =
          co_await gen::with_timeout(1h, std::tuple(async_future(1), async_future('2')));
      CHECK(from_tuple == std::tuple(1, '2'));
    });
  }

  TEST_CASE("gen.with_timeout: one that expires and one that does not, at the same Future") {
    test::Loop loop;
    const Future<int> future;
    const Future<std::string> early = error_of(gen::with_timeout(1ms, future));
    const Future<std::string> late = error_of(gen::with_timeout(1h, future));
    loop.run([=]() -> Future<void> {
      co_await early;
      CHECK_FALSE(late.done());
      future.set_result(1);
      co_await late;
    });
    CHECK(early.result() == "Timeout");
    CHECK(late.result() == "");
  }
}
