// SPDX-License-Identifier: Apache-2.0
//
// What is called when a Future is done: done-callbacks, and chain_future.
#include "loop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>

using namespace tornado;
using test::CustomError;

namespace {

std::exception_ptr error(const char* what) { return std::make_exception_ptr(CustomError(what)); }

}  // namespace

TEST_SUITE("concurrent") {
  TEST_CASE("Future.add_done_callback: runs after the running callback has returned (G1)") {
    test::Loop loop;
    std::string order;
    const Future<int> future;
    future.add_done_callback([&] { order += "c"; });
    future.add_done_callback([&](const Future<int>& done) {
      order += done.result() == 42 ? "d" : "?";
      loop.stop();
    });
    loop.add_callback([&] {
      future.set_result(42);
      order += "a";
    });
    loop.add_callback([&] { order += "b"; });
    loop.wait();
    CHECK(order == "abcd");
  }

  TEST_CASE(
      "Future.add_done_callback: runs later also for what is done, failed or cancelled (G1)") {
    test::Loop loop;
    const Future<int> done = make_ready_future(1);
    const Future<int> failed = make_exception_future<int>(error("failed"));
    const Future<int> cancelled;
    cancelled.cancel();
    std::string order;
    loop.add_callback([&] {
      done.add_done_callback([&](const Future<int>& f) { order += f.result() == 1 ? "1" : "?"; });
      failed.add_done_callback([&](const Future<int>& f) { order += f.exception() ? "2" : "?"; });
      cancelled.add_done_callback(
          [&](const Future<int>& f) { order += f.cancelled() ? "3" : "?"; });
      order += "0";
      loop.stop();
    });
    loop.wait();
    CHECK(order == "0123");
  }

  TEST_CASE("Future.add_done_callback: what is set outside the loop runs when the loop does") {
    test::Loop loop;
    bool called = false;
    const Future<int> future;
    future.add_done_callback([&] {
      called = true;
      loop.stop();
    });
    future.set_result(1);
    CHECK_FALSE(called);
    loop.wait();
    CHECK(called);
  }

  TEST_CASE("Future.add_done_callback: an exception is logged, and the others still run (G2)") {
    test::Loop loop;
    const Future<int> future;
    int called = 0;
    future.add_done_callback([&] { ++called; });
    future.add_done_callback([] { throw CustomError("from a done-callback"); });
    future.add_done_callback([&] { ++called; });
    const test::ExpectLog expected(log::app_log, "CustomError: from a done-callback");
    future.set_result(1);
    loop.iterate();
    CHECK(called == 2);
    CHECK(expected.count() == 1);
  }

  TEST_CASE("Future.add_done_callback: a callback that is a coroutine lives until it ends") {
    test::Loop loop;
    const Future<void> gate;
    auto capture = std::make_shared<std::string>("captured");
    const std::weak_ptr<std::string> watch = capture;
    const Future<int> future = make_ready_future(1);
    std::string seen;
    future.add_done_callback([capture = std::move(capture), &gate, &seen]() -> Future<void> {
      co_await gate;
      seen = *capture;
    });
    loop.iterate();
    CHECK_FALSE(watch.expired());
    gate.set_result();
    loop.iterate();
    CHECK(seen == "captured");
    CHECK(watch.expired());
  }

  TEST_CASE("Future.add_done_callback: the failure of a callback's own Future is logged") {
    test::Loop loop;
    const Future<int> future = make_ready_future(1);
    future.add_done_callback([]() -> Future<void> {
      co_await gen::moment;
      throw CustomError("from its coroutine");
    });
    const test::ExpectLog expected(log::app_log, "CustomError: from its coroutine");
    loop.iterate(3);
    CHECK(expected.count() == 1);
  }

  TEST_CASE("Future.add_done_callback: dropped, not called, when nobody can complete the Future") {
    test::Loop loop;
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    bool called = false;
    {
      const Future<int> future;
      future.add_done_callback([token = std::move(token), &called] { called = true; });
      CHECK_FALSE(watch.expired());
    }
    CHECK(watch.expired());
    loop.iterate();
    CHECK_FALSE(called);
  }

  TEST_CASE("future_add_done_callback: at once when it is done, else later") {
    test::Loop loop;
    std::string order;
    future_add_done_callback(make_ready_future(1),
                             [&](const Future<int>& f) { order += f.result() == 1 ? "a" : "?"; });
    future_add_done_callback(make_ready_future(), [&] { order += "b"; });
    CHECK(order == "ab");

    const Future<int> future;
    future_add_done_callback(future,
                             [&](const Future<int>& f) { order += f.result() == 2 ? "c" : "?"; });
    future_add_done_callback(future, [&] { order += "d"; });
    future.set_result(2);
    CHECK(order == "ab");
    loop.iterate();
    CHECK(order == "abcd");
  }

  // Python: concurrent_test.ChainFutureTest.test_asyncio_futures
  TEST_CASE("chain_future: hands on the result (G5)") {
    test::Loop loop;
    const Future<int> future;
    const Future<int> future2;
    chain_future(future, future2);
    future.set_result(42);
    CHECK_FALSE(future2.done());
    const int result = loop.run([=]() -> Future<int> { co_return co_await future2; });
    CHECK(result == 42);
  }

  // What Python does with a concurrent.futures.Future, a RemotePromise does here.
  // Python: concurrent_test.ChainFutureTest.test_concurrent_futures
  TEST_CASE("chain_future: three steps, the first from another thread (G5)") {
    test::Loop loop;
    RemotePromise<int> promise;
    const Future<int> future = promise.get_future();
    const Future<int> future2;
    const Future<int> future3;
    chain_future(future, future2);
    chain_future(future2, future3);
    std::thread thread([&promise] { promise.set_result(42); });
    const int result = loop.run([=]() -> Future<int> { co_return co_await future3; });
    thread.join();
    CHECK(result == 42);
  }

  TEST_CASE("chain_future: hands on errors and cancellation, at once from what is done (G5)") {
    test::Loop loop;
    const Future<int> failed;
    const Future<int> cancelled;
    const Future<int> fails_with_it;
    const Future<int> cancelled_with_it;
    chain_future(failed, fails_with_it);
    chain_future(cancelled, cancelled_with_it);
    const std::exception_ptr what = error("handed on");
    failed.set_exception(what);
    cancelled.cancel();
    loop.iterate();
    CHECK(fails_with_it.exception() == what);
    CHECK(cancelled_with_it.cancelled());

    const Future<int> at_once;
    chain_future(make_ready_future(1), at_once);
    CHECK(at_once.result() == 1);
    const Future<void> without_value;
    chain_future(make_ready_future(), without_value);
    CHECK(without_value.done());
  }

  TEST_CASE("chain_future: a target that is done already stays as it is (G5)") {
    test::Loop loop;
    const Future<int> source;
    const Future<int> target;
    const Future<int> cancelled;
    chain_future(source, target);
    chain_future(source, cancelled);
    target.set_result(1);
    cancelled.cancel();
    source.set_result(2);
    loop.iterate();
    CHECK(target.result() == 1);
    CHECK(cancelled.cancelled());
  }

  TEST_CASE("chain_future: a value that only moves changes its place (G5)") {
    const Future<std::unique_ptr<int>> source;
    const Future<std::unique_ptr<int>> target;
    source.set_result(std::make_unique<int>(3));
    chain_future(source, target);
    CHECK(*target.result() == 3);
    CHECK_THROWS_AS(source.result(), InvalidStateError);
  }

  TEST_CASE("chain_future: makes no cycle, and what is never completed is freed (G5)") {
    test::Loop loop;
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    {
      const Future<std::shared_ptr<int>> source;
      const Future<std::shared_ptr<int>> target;
      chain_future(source, target);
      source.set_result(std::move(token));
      loop.iterate();
      CHECK(target.result() != nullptr);
    }
    CHECK(watch.expired());

    token = std::make_shared<int>();
    const std::weak_ptr<int> watch_pending = token;
    {
      const Future<int> source;
      const Future<int> target;
      chain_future(source, target);
      target.add_done_callback([token = std::move(token)] {});
    }
    CHECK(watch_pending.expired());
  }
}
