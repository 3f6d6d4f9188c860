// SPDX-License-Identifier: Apache-2.0
//
// Completing a Future from another thread.
#include "loop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <cstddef>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;
using test::CustomError;

namespace {

std::exception_ptr error(const char* what) { return std::make_exception_ptr(CustomError(what)); }

}  // namespace

TEST_SUITE("concurrent") {
  TEST_CASE("RemotePromise: completes a Future from another thread") {
    test::Loop loop;
    RemotePromise<std::string> promise;
    const Future<std::string> future = promise.get_future();
    const Future<std::string> same = promise.get_future();
    std::thread thread([p = std::move(promise)]() mutable { p.set_result("from afar"); });
    std::thread::id resumed_on;
    const std::string result = loop.run([&]() -> Future<std::string> {
      std::string text = co_await future;
      resumed_on = std::this_thread::get_id();
      co_return text;
    });
    thread.join();
    CHECK(result == "from afar");
    CHECK(same.result() == "from afar");
    CHECK(resumed_on == std::this_thread::get_id());
  }

  TEST_CASE("RemotePromise: without a value, with an error, with what only moves") {
    test::Loop loop;
    RemotePromise<> nothing;
    RemotePromise<int> failing;
    RemotePromise<std::unique_ptr<int>> moving;
    const Future<void> done = nothing.get_future();
    const Future<int> failed = failing.get_future();
    const Future<std::unique_ptr<int>> moved = moving.get_future();
    std::thread thread([&] {
      nothing.set_result();
      failing.set_exception(error("from afar"));
      moving.set_result(std::make_unique<int>(9));
    });
    loop.run([&]() -> Future<void> { co_await done; });
    CHECK_THROWS_WITH_AS(loop.run([&]() -> Future<void> { co_await failed; }), "from afar",
                         CustomError);
    loop.run([&]() -> Future<void> { co_await moved; });
    thread.join();
    CHECK(*moved.result() == 9);
  }

  TEST_CASE("RemotePromise: dropped unset it fails its Future with a broken promise") {
    test::Loop loop;
    std::optional<RemotePromise<int>> promise(std::in_place);
    const Future<int> future = promise->get_future();
    std::thread thread([&] { promise.reset(); });
    bool broken = false;
    try {
      loop.run([&]() -> Future<void> { co_await future; });
    } catch (const std::future_error& e) {
      broken = e.code() == std::future_errc::broken_promise;
    }
    thread.join();
    CHECK(broken);
  }

  TEST_CASE("RemotePromise: assigning over one that is unset breaks it") {
    test::Loop loop;
    RemotePromise<int> promise;
    const Future<int> first = promise.get_future();
    promise = RemotePromise<int>();
    const Future<int> second = promise.get_future();
    promise.set_result(2);
    loop.iterate();
    CHECK_THROWS_AS(first.result(), std::future_error);
    CHECK(second.result() == 2);
  }

  TEST_CASE("RemotePromise: usable once, and not after a move") {
    test::Loop loop;
    RemotePromise<int> promise;
    CHECK_THROWS_AS(promise.set_exception(std::exception_ptr()), std::invalid_argument);
    const Future<int> future = promise.get_future();
    promise.set_result(1);
    CHECK_THROWS_AS(promise.set_result(2), InvalidStateError);
    CHECK_THROWS_AS(promise.set_exception(error("second")), InvalidStateError);
    CHECK_THROWS_AS(promise.get_future(), InvalidStateError);
    RemotePromise<int> source;
    const RemotePromise<int> moved = std::move(source);
    CHECK_THROWS_AS(source.set_result(1), InvalidStateError);
    loop.iterate();
    CHECK(future.result() == 1);
  }

  TEST_CASE("RemotePromise: the Future is done only when the loop has run, on its own thread too") {
    test::Loop loop;
    RemotePromise<int> promise;
    const Future<int> future = promise.get_future();
    bool done_at_once = true;
    loop.add_callback([&] {
      promise.set_result(1);
      done_at_once = future.done();
    });
    loop.run([&]() -> Future<void> { co_await future; });
    CHECK_FALSE(done_at_once);
    CHECK(future.result() == 1);
  }

  TEST_CASE("RemotePromise: after cancellation a result is dropped and an error logged (G4)") {
    test::Loop loop;
    RemotePromise<int> with_result;
    RemotePromise<int> with_error;
    const Future<int> first = with_result.get_future();
    const Future<int> second = with_error.get_future();
    CHECK(first.cancel());
    CHECK(second.cancel());
    const test::ExpectLog expected(log::app_log, "CustomError: after cancellation");
    std::thread thread([&] {
      with_result.set_result(1);
      with_error.set_exception(error("after cancellation"));
    });
    thread.join();
    loop.iterate();
    CHECK(first.cancelled());
    CHECK(second.cancelled());
    CHECK(expected.count() == 1);
  }

  TEST_CASE(
      "RemotePromise: when the loop is closed its Future is cancelled, and results are dropped") {
    std::optional<test::Loop> loop(std::in_place);
    RemotePromise<std::shared_ptr<int>> promise;
    RemotePromise<int> failing;
    std::optional<RemotePromise<int>> dropped(std::in_place);
    std::optional<RemotePromise<int>> queued(std::in_place);
    const Future<std::shared_ptr<int>> future = promise.get_future();
    const Future<int> never_run = queued->get_future();
    queued->set_result(1);
    loop.reset();
    CHECK(future.cancelled());
    CHECK(never_run.cancelled());
    CHECK(promise.get_future().cancelled());

    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    std::thread thread([&] {
      promise.set_result(std::move(token));
      failing.set_exception(error("nobody hears it"));
      dropped.reset();
    });
    thread.join();
    CHECK(watch.expired());
    CHECK(future.cancelled());
  }

  TEST_CASE("RemotePromise: closing the loop races with the threads that complete") {
    for (int round = 0; round < 50; ++round) {
      std::optional<test::Loop> loop(std::in_place);
      std::vector<Future<int>> futures;
      std::vector<std::thread> threads;
      for (int i = 0; i < 3; ++i) {
        RemotePromise<int> promise;
        futures.push_back(promise.get_future());
        threads.emplace_back([p = std::move(promise), i]() mutable {
          if (i == 2) {
            p.set_exception(error("racing"));
          } else {
            p.set_result(i);
          }
        });
      }
      loop->iterate();
      loop.reset();
      for (auto& thread : threads) thread.join();
      for (const auto& future : futures) {
        CHECK(future.done());
        if (!future.cancelled()) static_cast<void>(future.exception());
      }
    }
  }

  TEST_CASE("RemotePromise: eight threads complete thousands, and none is lost") {
    constexpr int thread_count = 8;
    constexpr int each = 1000;
    test::Loop loop;
    std::vector<std::vector<RemotePromise<int>>> promises(thread_count);
    std::vector<Future<int>> futures;
    for (auto& of_thread : promises) {
      for (int i = 0; i < each; ++i) {
        futures.push_back(of_thread.emplace_back().get_future());
      }
    }
    std::vector<std::thread> threads;
    for (auto& of_thread : promises) {
      threads.emplace_back([&of_thread] {
        for (int i = 0; i < each; ++i) {
          auto& promise = of_thread[static_cast<std::size_t>(i)];
          if (i % 10 == 9) {
            promise.set_exception(error("every tenth"));
          } else {
            promise.set_result(1);
          }
        }
      });
    }
    int failed = 0;
    const int sum = loop.run([&]() -> Future<int> {
      int total = 0;
      for (const auto& future : futures) {
        try {
          const int value = co_await future;
          total += value;
        } catch (const CustomError&) {
          ++failed;
        }
      }
      co_return total;
    });
    for (auto& thread : threads) thread.join();
    CHECK(sum == thread_count * each * 9 / 10);
    CHECK(failed == thread_count * each / 10);
  }
}
