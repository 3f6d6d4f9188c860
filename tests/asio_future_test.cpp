// SPDX-License-Identifier: Apache-2.0
//
// Asio operations as Futures: as_future.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/asio.hpp"

#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

using test::outcome;
using Unix = asio::local::stream_protocol;

/// An operation that ends when the test says so, with what it says, and cannot be cancelled.
template <class... Args>
class Operation {
 public:
  template <class Token>
  auto async_run(Token&& token) {
    return asio::async_initiate<Token, void(Args...)>(
        [this](auto handler) {
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          finish = [shared](Args... args) { (*shared)(std::move(args)...); };
        },
        token);
  }
  std::function<void(Args...)> finish;
};

std::error_code code_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return e.code();
  } catch (...) {
    FAIL_CHECK("no system_error");
  }
  return {};
}

}  // namespace

TEST_SUITE("asio") {
  TEST_CASE("as_future: waits for Asio's operations, with a value or none") {
    test::Loop loop;
    asio::io_context& io = get_io_context(loop);
    loop.run([&]() -> Future<void> {
      asio::steady_timer timer(io, 1ms);
      static_assert(std::is_same_v<decltype(timer.async_wait(as_future)), Future<void>>);
      co_await timer.async_wait(as_future);
      Unix::socket one(io);
      Unix::socket two(io);
      asio::local::connect_pair(one, two);
      const std::string text = "some text";
      Future<std::size_t> written = asio::async_write(one, asio::buffer(text), as_future);
      std::string got(text.size(), ' ');
      const std::size_t count = co_await asio::async_read(two, asio::buffer(got), as_future);
      CHECK(count == text.size());
      CHECK(got == text);
      CHECK(co_await written == text.size());
      co_await asio::post(io, as_future);
      co_await asio::post(get_executor(loop), as_future);
    });
  }

  TEST_CASE("as_future: several values are a tuple") {
    test::Loop loop;
    Operation<std::error_code, int, std::string> operation;
    Future<std::tuple<int, std::string>> future = operation.async_run(as_future);
    asio::post(get_io_context(loop), [&] { operation.finish({}, 5, "five"); });
    const auto [number, word] = test::result(loop, future);
    CHECK(number == 5);
    CHECK(word == "five");

    Operation<int> plain;
    Future<int> other = plain.async_run(as_future);
    asio::post(get_io_context(loop), [&] { plain.finish(6); });
    CHECK(test::result(loop, other) == 6);
  }

  TEST_CASE("as_future: a move-only value") {
    test::Loop loop;
    Operation<std::exception_ptr, std::unique_ptr<int>> operation;
    Future<std::unique_ptr<int>> future = operation.async_run(as_future);
    asio::post(get_io_context(loop), [&] { operation.finish(nullptr, std::make_unique<int>(7)); });
    const std::unique_ptr<int> value =
        loop.run([&]() -> Future<std::unique_ptr<int>> { return std::move(future); });
    CHECK(*value == 7);
  }

  TEST_CASE("as_future: a coroutine of Asio's, and its exception") {
    test::Loop loop;
    asio::io_context& io = get_io_context(loop);
    const auto ok = []() -> asio::awaitable<int> { co_return 3; };
    const auto bad = []() -> asio::awaitable<void> {
      throw test::CustomError("from an awaitable");
      co_return;
    };
    CHECK(test::result(loop, asio::co_spawn(io, ok(), as_future)) == 3);
    const Future<void> failed = asio::co_spawn(io, bad(), as_future);
    CHECK_THROWS_WITH_AS(test::result(loop, failed), "from an awaitable", test::CustomError);
  }

  TEST_CASE("as_future: errors of the system are in the system category, others in Asio's") {
    test::Loop loop;
    asio::io_context& io = get_io_context(loop);
    auto [keeper, port] = test::refusing_port();
    asio::ip::tcp::socket socket(io);
    const asio::ip::tcp::endpoint endpoint(asio::ip::make_address("127.0.0.1"), port);
    const Future<void> refused = socket.async_connect(endpoint, as_future);
    test::wait_until(loop, [&] { return refused.done(); });
    const std::error_code code = code_of(refused.exception());
    CHECK(code == std::errc::connection_refused);
    CHECK(code.category() == std::system_category());

    Unix::socket one(io);
    Unix::socket two(io);
    asio::local::connect_pair(one, two);
    one.close();
    char byte;
    const Future<std::size_t> end = asio::async_read(two, asio::buffer(&byte, 1), as_future);
    test::wait_until(loop, [&] { return end.done(); });
    CHECK(code_of(end.exception()) == asio::error::eof);
  }

  TEST_CASE("as_future: cancelling reaches the operation, and the Future is done when that is") {
    test::Loop loop;
    asio::steady_timer timer(get_io_context(loop), 1h);
    const Future<void> future = timer.async_wait(as_future);
    CHECK(future.cancel());
    CHECK(!future.done());
    test::wait_until(loop, [&] { return future.done(); });
    CHECK(future.cancelled());
    CHECK(!future.cancel());

    // Aborted by somebody else it has failed.
    const Future<void> aborted = timer.async_wait(as_future);
    timer.cancel();
    test::wait_until(loop, [&] { return aborted.done(); });
    CHECK(code_of(aborted.exception()) == std::errc::operation_canceled);
  }

  TEST_CASE("as_future: a coroutine that is cancelled waits for the operation's end") {
    test::Loop loop;
    std::string order;
    Operation<std::error_code> operation;
    asio::steady_timer timer(get_io_context(loop), 1h);
    const auto wait = [&](Future<void> what) -> Future<void> {
      try {
        co_await what;
        order += 'v';
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        order += 'c';
        throw;
      }
    };
    const Future<void> prompt = wait(timer.async_wait(as_future));
    const Future<void> late = wait(operation.async_run(as_future));
    prompt.cancel();
    late.cancel();
    test::wait_until(loop, [&] { return prompt.done(); });
    CHECK(prompt.cancelled());
    loop.iterate(3);
    CHECK(!late.done());
    CHECK(order == "c");
    // It did not heed the request: what it gives is delivered, the request met at the next wait.
    operation.finish({});
    test::wait_until(loop, [&] { return late.done(); });
    CHECK(late.cancelled());
    CHECK(order == "cvc");
  }

  TEST_CASE("as_future: a deadline cancels the operation") {
    test::Loop loop;
    asio::steady_timer timer(get_io_context(loop), 1h);
    loop.run([&]() -> Future<void> {
      bool timed_out = false;
      try {
        co_await gen::timeout_after(1ms, [&] { return timer.async_wait(as_future); });
      } catch (const TimeoutError&) {
        timed_out = true;
      }
      CHECK(timed_out);
    });
    CHECK(timer.cancel() == 0);
  }

  TEST_CASE("as_future: a request that comes too late takes no result away") {
    test::Loop loop;
    asio::steady_timer timer(get_io_context(loop), 0s);
    const Future<void> future = timer.async_wait(as_future);
    asio::post(get_io_context(loop), [&] { future.cancel(); });
    test::wait_until(loop, [&] { return future.done(); });
    CHECK(!future.cancelled());
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("as_future: an object of another context, on another thread, completes on the loop") {
    test::Loop loop;
    asio::io_context elsewhere;
    auto guard = std::make_optional(asio::make_work_guard(elsewhere));
    std::thread thread([&] { elsewhere.run(); });
    loop.run([&]() -> Future<void> {
      const auto home = std::this_thread::get_id();
      for (int i = 0; i < 50; ++i) {
        asio::steady_timer timer(elsewhere, 0s);
        co_await timer.async_wait(as_future);
        CHECK(std::this_thread::get_id() == home);
        co_await asio::post(elsewhere, as_future);
        CHECK(std::this_thread::get_id() == home);
        CHECK(&IOLoop::current() == &loop);
      }
    });
    guard.reset();
    thread.join();
  }

  TEST_CASE("as_future: on an adapted loop, in a turn of its own") {
    asio::io_context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    asio::steady_timer timer(io, 1ms);
    std::string order;
    loop->add_callback([&]() -> Future<void> {
      co_await timer.async_wait(as_future);
      order += &IOLoop::current() == loop.get() ? 'l' : '?';
      loop->make_current();
      order += 'e';
    });
    io.run();
    CHECK(order == "le");
  }

  TEST_CASE("as_future: an operation that its context drops breaks the promise") {
    test::Loop loop;
    auto elsewhere = std::make_unique<asio::io_context>();
    const Future<void> dropped = asio::post(*elsewhere, as_future);
    elsewhere.reset();
    CHECK(!dropped.done());
    test::wait_until(loop, [&] { return dropped.done(); });
    CHECK_THROWS_AS(dropped.result(), std::future_error);

    Operation<std::error_code> operation;
    { const Future<void> unseen = operation.async_run(as_future); }
    operation.finish = nullptr;
    loop.iterate();
  }

  TEST_CASE("as_future: a loop that closes leaves nothing behind") {
    std::string out;
    const auto wait = [&](Future<void> what, char letter) -> Future<void> {
      const test::Note note(out, letter);
      co_await what;
    };
    std::optional<Future<void>> future;
    {
      test::Loop loop;
      asio::steady_timer timer(get_io_context(loop), 1h);
      future = timer.async_wait(as_future);
      loop.add_callback(wait, *future, 'o');
      loop.iterate();
      // The timer is Asio's: it goes before its context does.
    }
    CHECK(out == "o");
    CHECK(future->cancelled());

    asio::io_context io;
    asio::steady_timer timer(io, 1h);
    auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    future = timer.async_wait(as_future);
    loop->add_callback(wait, *future, 'a');
    io.poll();
    loop.reset();
    CHECK(out == "oa");
    timer.cancel();
    io.restart();
    io.run();
    CHECK(future->cancelled());
  }
}
