// SPDX-License-Identifier: Apache-2.0
//
// Futures as Asio operations: async_wait.
#include "coroutine_support.hpp"
#include "tornado/asio.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

using asio::use_awaitable;
using test::Note;

Future<std::string> shout(std::string word) {
  co_await gen::sleep(1ms);
  if (word.empty()) throw test::CustomError("nothing to shout");
  co_return word + "!";
}

std::string describe(const std::exception_ptr& error) {
  if (!error) return "none";
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return e.code() == asio::error::operation_aborted ? "aborted" : e.what();
  } catch (const std::exception& e) {
    return e.what();
  }
}

/// A handler that notes what it gets.
auto note_in(std::string& out) {
  return [&out](const std::exception_ptr& error) { out += describe(error) + ";"; };
}

/// An Asio coroutine that never ends, but for the end of its world.
asio::awaitable<void> wait_for_ever(std::string& out, Future<void> future) {
  const Note note(out, 'd');
  co_await async_wait(future, use_awaitable);
  out += '?';
}

}  // namespace

TEST_SUITE("asio") {
  TEST_CASE("async_wait: an awaitable gets values and exceptions") {
    asio::io_context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    std::string out;
    const auto session = [&]() -> asio::awaitable<void> {
      out += co_await async_wait(shout("hey"), use_awaitable);
      co_await async_wait(gen::sleep(1ms), use_awaitable);
      out += co_await async_wait(make_ready_future(std::string("ready")), use_awaitable);
      try {
        const std::string none = co_await async_wait(shout(""), use_awaitable);
      } catch (const test::CustomError& error) {
        out += error.what();
      }
      const auto pointer =
          co_await async_wait(make_ready_future(std::make_unique<int>(1)), use_awaitable);
      out += std::to_string(*pointer);
    };
    asio::co_spawn(io, session(), asio::detached);
    io.run();
    CHECK(out == "hey!readynothing to shout1");
  }

  TEST_CASE("async_wait: the handler is never called inside the call, nor in the loop's turn") {
    test::Loop loop;
    std::string out;
    async_wait(make_ready_future(), [&](const std::exception_ptr& error) {
      out += describe(error);
      loop.stop();
    });
    CHECK(out.empty());
    loop.wait();
    CHECK(out == "none");

    // So an exception is not taken for a callback's, but leaves the application's run.
    asio::io_context io;
    const auto adapted = make_ioloop(io, IOLoop::MakeCurrent::always);
    async_wait(make_ready_future(5), [](const std::exception_ptr&, int value) {
      if (value == 5) throw test::CustomError("from a handler");
    });
    CHECK_THROWS_WITH_AS(io.run(), "from a handler", test::CustomError);
  }

  TEST_CASE("async_wait: a pending wait keeps the context running") {
    asio::io_context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    std::string out;
    const Future<void> future;
    async_wait(future, note_in(out));
    while (io.poll() > 0) {
    }
    CHECK(!io.stopped());
    CHECK(out.empty());
    asio::post(io, [&] { future.set_result(); });
    io.run();
    CHECK(out == "none;");
  }

  TEST_CASE("async_wait: the cancellation slot cancels the Future") {
    asio::io_context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    std::string out;
    asio::cancellation_signal signal;
    const Future<void> future = gen::sleep(1h);
    async_wait(future, asio::bind_cancellation_slot(signal.slot(), note_in(out)));
    asio::post(io, [&] { signal.emit(asio::cancellation_type::total); });
    io.run();
    CHECK(out == "aborted;");
    CHECK(future.cancelled());

    // A Future that cannot be cancelled at once: the handler hears of its end.
    out.clear();
    const Future<void> slow = test::sleeper(out, 's', 3);
    async_wait(slow, asio::bind_cancellation_slot(signal.slot(), note_in(out)));
    asio::post(io, [&] { signal.emit(asio::cancellation_type::total); });
    io.restart();
    io.run();
    CHECK(out == "sSaborted;");
    signal.emit(asio::cancellation_type::total);  // when all is over, to nobody
  }

  TEST_CASE("async_wait: what a coroutine waits for too is not cancelled") {
    asio::io_context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    std::string out;
    asio::cancellation_signal signal;
    Future<void> shared;
    loop->add_callback([&]() -> Future<void> {
      co_await shared;
      out += "waited;";
    });
    async_wait(shared, asio::bind_cancellation_slot(signal.slot(), note_in(out)));
    loop->add_callback([&] {
      signal.emit(asio::cancellation_type::total);
      loop->add_callback([&] { shared.set_result(); });
    });
    io.run();
    CHECK(out == "aborted;waited;");
  }

  TEST_CASE("async_wait: a cancelled Future is an aborted operation") {
    test::Loop loop;
    std::string out;
    const Future<void> future;
    async_wait(future, note_in(out));
    future.cancel();
    loop.run_until([&] { return !out.empty(); });
    CHECK(out == "aborted;");
  }

  TEST_CASE("async_wait: the handler runs on its own executor, on another thread") {
    asio::io_context elsewhere;
    auto guard = std::make_optional(asio::make_work_guard(elsewhere));
    std::thread::id ran_on;
    std::string got;
    std::thread thread([&] { elsewhere.run(); });
    const std::thread::id there = thread.get_id();
    test::Loop loop;
    const auto handler = [&](const std::exception_ptr& error, std::string value) {
      got = describe(error) + value;
      ran_on = std::this_thread::get_id();
      loop.add_callback([&] { loop.stop(); });
    };
    async_wait(shout("over there"), asio::bind_executor(elsewhere, handler));
    loop.wait();
    guard.reset();
    thread.join();
    CHECK(got == "noneover there!");
    CHECK(ran_on == there);
  }

  TEST_CASE("async_wait: there and back again") {
    test::Loop loop;
    CHECK(loop.run([]() -> Future<std::string> { return async_wait(shout("echo"), as_future); }) ==
          "echo!");
    const Future<void> future = async_wait(gen::sleep(1h), as_future);
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(future.cancelled());
  }

  TEST_CASE("async_wait: a loop that closes aborts the wait, and the context goes on") {
    asio::io_context io;
    auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    std::string out;
    async_wait(gen::sleep(1h), note_in(out));
    async_wait(Future<void>(), note_in(out));
    io.poll();
    loop.reset();
    io.restart();
    io.run();
    CHECK(out == "aborted;aborted;");
  }

  TEST_CASE("async_wait: coroutines that wait when their context ends are destroyed") {
    std::string out;
    {
      test::Loop loop;
      asio::co_spawn(get_io_context(loop), wait_for_ever(out, Future<void>()), asio::detached);
      loop.iterate(2);
    }
    CHECK(out == "d");
    {
      auto io = std::make_unique<asio::io_context>();
      const auto loop = make_ioloop(*io, IOLoop::MakeCurrent::always);
      asio::co_spawn(*io, wait_for_ever(out, Future<void>()), asio::detached);
      asio::co_spawn(*io, wait_for_ever(out, gen::sleep(1h)), asio::detached);
      io->poll();
      io.reset();
      CHECK(out == "ddd");
    }
  }
}
