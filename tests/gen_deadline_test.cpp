// SPDX-License-Identifier: Apache-2.0
//
// The ways to wait that decide for themselves when, or how, a wait ends: timeout_after, settled,
// shield, when_any.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::Note;
using test::outcome;
using test::sleeper;

namespace {

Future<int> after(Future<void> gate, int value) {
  co_await gate;
  co_return value;
}

/// Waits until it is cancelled; then returns `value` all the same, some iterations later.
Future<int> stubborn(int value) {
  Future<void> never;
  try {
    co_await never;
  } catch (const CancelledError&) {
  }
  for (int i = 0; i < 3; ++i) co_await gen::moment;
  co_return value;
}

Future<void> fail(const char* what) {
  co_await gen::moment;
  throw std::runtime_error(what);
}

/// What co_await throws for `future`, in a coroutine of its own.
template <class T>
Future<std::string> awaited(Future<T> future) {
  try {
    co_await future;
  } catch (const CancelledError&) {
    co_return "cancelled";
  } catch (const TimeoutError&) {
    co_return "timeout";
  } catch (const std::exception& e) {
    co_return e.what();
  }
  co_return "value";
}

template <class T>
bool timed_out(const Future<T>& future) {
  try {
    future.result();
  } catch (const TimeoutError&) {
    return true;
  } catch (...) {
  }
  return false;
}

}  // namespace

TEST_SUITE("gen") {
  // ---- timeout_after ----------------------------------------------------------------------------

  TEST_CASE("gen.timeout_after: the result, or the error, when it comes in time") {
    test::Loop loop;
    const Future<void> gate;
    const auto value = gen::timeout_after(1h, after, gate, 7);
    const auto error = gen::timeout_after(1h, fail, "broken");
    loop.iterate(2);
    CHECK(outcome(value) == "pending");
    gate.set_result();
    CHECK(test::result(loop, value) == 7);
    loop.run_until([&] { return error.done(); });
    CHECK(outcome(error) == "broken");
  }

  TEST_CASE("gen.timeout_after: calls at once, what is done by then is the result") {
    test::Loop loop;
    const auto ready = []() -> Future<int> { co_return 3; };
    CHECK(gen::timeout_after(0s, ready).result() == 3);
    CHECK(gen::timeout_after(-1h, make_ready_future(4)).result() == 4);
    const auto throws = []() -> Future<int> { throw std::runtime_error("no coroutine"); };
    CHECK(outcome(gen::timeout_after(1h, throws)) == "no coroutine");
    const auto fails = []() -> Future<int> {
      throw std::logic_error("at once");
      co_return 1;
    };
    CHECK(outcome(gen::timeout_after(1h, fails)) == "at once");
  }

  TEST_CASE("gen.timeout_after: cancels at the deadline, waits for the clean-up: TimeoutError") {
    test::Loop loop;
    std::string out;
    const auto begun = std::chrono::steady_clock::now();
    const Future<void> future = gen::timeout_after(20ms, sleeper, std::ref(out), 'a', 3);
    loop.run_until([&] { return !out.empty(); });
    CHECK(std::chrono::steady_clock::now() - begun >= 20ms);
    CHECK(outcome(future) == "pending");
    loop.run_until([&] { return future.done(); });
    CHECK(out == "aA");
    CHECK(timed_out(future));
  }

  TEST_CASE("gen.timeout_after: zero and past deadlines: the next iteration") {
    test::Loop loop;
    for (const Deadline deadline :
         {Deadline(0s), Deadline(-1h), Deadline(std::chrono::steady_clock::now() - 1h)}) {
      std::string out;
      const Future<void> future = gen::timeout_after(deadline, sleeper, std::ref(out), 'a', 0);
      CHECK(out.empty());
      loop.run_until([&] { return future.done(); });
      CHECK(timed_out(future));
      const auto quick = []() -> Future<int> {
        const Future<int> soon;
        soon.set_result(1);
        const int value = co_await gen::with_timeout(1h, soon);
        co_return value;
      };
      CHECK(test::result(loop, gen::timeout_after(deadline, quick)) == 1);
    }
  }

  TEST_CASE("gen.timeout_after: a result that comes after all is not lost, nor an error") {
    test::Loop loop;
    CHECK(test::result(loop, gen::timeout_after(0s, stubborn, 5)) == 5);
    const auto fails_cleaning_up = []() -> Future<int> {
      Future<void> never;
      try {
        co_await never;
      } catch (const CancelledError&) {
      }
      co_await gen::moment;
      throw std::runtime_error("cleaning up");
    };
    const auto future = gen::timeout_after(0s, fails_cleaning_up);
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "cleaning up");
  }

  TEST_CASE("gen.timeout_after: what comes in the turn of the deadline is the result") {
    test::Loop loop;
    const Future<void> gate;
    const auto deadline = std::chrono::steady_clock::now() + 5ms;
    loop.call_at(deadline, [&] { gate.set_result(); });
    const auto future = gen::timeout_after(deadline, after, gate, 7);
    CHECK(test::result(loop, future) == 7);
  }

  TEST_CASE("gen.timeout_after: keeps the function and its arguments until the coroutine ends") {
    test::Loop loop;
    std::string out;
    auto captured = std::make_unique<Note>(out, 'c');
    auto argument = std::make_unique<Note>(out, 'a');
    const Future<void> gate;
    auto f = [&, kept = std::move(captured)](std::unique_ptr<Note>) -> Future<void> {
      co_await gate;
      out += '.';
    };
    const auto future = gen::timeout_after(1h, std::move(f), std::move(argument));
    loop.iterate(2);
    CHECK(out.empty());
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(out == ".ac");
  }

  TEST_CASE("gen.timeout_after: of a coroutine that was called already, wherever it is held") {
    test::Loop loop;
    std::string out;
    Future<void> called = sleeper(out, 'a', 1);
    const Future<void> future = gen::timeout_after(1ms, called);
    loop.run_until([&] { return future.done(); });
    CHECK(timed_out(future));
    CHECK(called.cancelled());
    const Future<int> plain;
    const auto again = gen::timeout_after(0s, plain);
    loop.run_until([&] { return again.done(); });
    CHECK(timed_out(again));
    CHECK(plain.cancelled());
  }

  TEST_CASE("gen.timeout_after: at the deadline, what others wait for goes on") {
    test::Loop loop;
    Future<void> gate;
    const Future<int> work = after(gate, 7);
    const Future<std::string> others = awaited(work);
    const auto ours = loop.run([&] { return gen::settled(gen::timeout_after(0s, work)); });
    CHECK_THROWS_AS(ours.value(), TimeoutError);
    CHECK_FALSE(work.done());
    gate.set_result();
    loop.run([&] { return gen::settled(others); });
    CHECK(others.result() == "value");
  }

  TEST_CASE("gen.timeout_after: a coroutine cancelled by others is no timeout") {
    test::Loop loop;
    std::string out;
    const Future<void> called = sleeper(out, 'a', 1);
    const Future<void> future = gen::timeout_after(1h, called);
    called.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(future.cancelled());
  }

  TEST_CASE("gen.timeout_after: cancelled, it cancels the coroutine and waits for it") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::timeout_after(1h, sleeper, std::ref(out), 'a', 3);
    future.cancel();
    loop.run_until([&] { return !out.empty(); });
    CHECK(outcome(future) == "pending");
    loop.run_until([&] { return future.done(); });
    CHECK(out == "aA");
    CHECK(future.cancelled());
  }

  TEST_CASE("gen.timeout_after: cancelled before the deadline, which passes in the clean-up") {
    test::Loop loop;
    std::string out;
    bool end = false;
    const auto slow = [&]() -> Future<void> {
      Future<void> never;
      try {
        co_await never;
      } catch (const CancelledError&) {
        out += 'a';
      }
      try {
        while (!end) co_await gen::moment;
      } catch (const CancelledError&) {  // the deadline holds for the clean-up too
        out += '!';
        throw;
      }
    };
    const auto deadline = std::chrono::steady_clock::now() + 10ms;
    const Future<void> future = gen::timeout_after(deadline, slow);
    const Future<std::string> seen = awaited(future);
    seen.cancel();
    loop.run_until([&] { return seen.done(); });
    CHECK(out == "a!");
    CHECK(seen.result() == "cancelled");  // the request is not forgotten over the timeout
    CHECK(future.cancelled());
  }

  TEST_CASE("gen.timeout_after: cancelled in the clean-up after the deadline") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::timeout_after(0s, sleeper, std::ref(out), 'a', 1'000'000);
    loop.run_until([&] { return !out.empty(); });
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(out == "a!");
    CHECK(future.cancelled());
  }

  TEST_CASE("gen.with_timeout: cancelled before the deadline, which passes in the clean-up") {
    test::Loop loop;
    std::string out;
    const Future<void> work = sleeper(out, 'a', 1'000'000);
    const auto deadline = std::chrono::steady_clock::now() + 10ms;
    const Future<void> future = gen::with_timeout(deadline, work);
    const Future<std::string> seen = awaited(future);
    seen.cancel();
    loop.run_until([&] { return seen.done(); });
    CHECK(seen.result() == "cancelled");
    CHECK(out == "a");
    CHECK_FALSE(work.done());  // it goes on, with its clean-up
  }

  TEST_CASE("gen.timeout_after: the timer goes when the coroutine has ended") {
    // Left behind, a million of them would take some 100 MB.
    test::Loop loop;
    const int count = test::sanitized ? 2'000 : 200'000;
    rusage before{};
    ::getrusage(RUSAGE_SELF, &before);
    loop.run([&]() -> Future<void> {
      const auto soon = []() -> Future<void> { co_await gen::moment; };
      for (int i = 0; i < count / 100; ++i) {
        std::vector<Future<void>> some;
        for (int k = 0; k < 100; ++k) some.push_back(gen::timeout_after(1h, soon));
        co_await std::move(some);
      }
    });
    rusage after{};
    ::getrusage(RUSAGE_SELF, &after);
    if (!test::sanitized) CHECK(after.ru_maxrss - before.ru_maxrss < 20'000);  // kB
  }

  // ---- Streams
  // ------------------------------------------------------------------------------------

  TEST_CASE("gen.timeout_after: of a read: its bytes stay in the stream, for the next") {
    test::Loop loop;
    auto [server, client] = test::make_iostream_pair();
    const auto read_line = [](IOStream from) -> Future<std::string> {
      co_return co_await from.read_until("\n");
    };
    client.write("first ha");
    loop.run_until([&] { return !client.writing(); });
    const auto early = gen::timeout_after(20ms, read_line, server);
    loop.run_until([&] { return early.done(); });
    CHECK(timed_out(early));
    CHECK_FALSE(server.reading());
    client.write("lf\nsecond\n");
    CHECK(test::result(loop, gen::timeout_after(1h, read_line, server)) == "first half\n");
    CHECK(test::result(loop, server.read_until("\n")) == "second\n");
  }

  TEST_CASE("Future.cancel: of a read, of whatever kind, leaves its bytes in the stream") {
    test::Loop loop;
    for (const auto transport : test::transports) {
      auto [server, client] = test::make_iostream_pair(transport);
      std::string target(10, '-');
      const auto cancelled_after = [&](auto read, std::string text) {
        client.write(text);
        loop.run_until([&] { return !client.writing(); });
        loop.iterate(5);
        CHECK(read.cancel());
        loop.run_until([&] { return read.done(); });
        CHECK(read.cancelled());
        CHECK_FALSE(server.reading());
      };
      cancelled_after(server.read_bytes(10), "ab");
      cancelled_after(server.read_until("\n"), "cd");
      cancelled_after(server.read_into(target), "ef");
      cancelled_after(server.read_until_close(), "gh");
      client.write("\n");
      CHECK(test::result(loop, server.read_until("\n")) == "abcdefgh\n");
    }
  }

  TEST_CASE("Future.cancel: of a read that is complete already delivers the bytes") {
    test::Loop loop;
    auto [server, client] = test::make_iostream_pair();
    std::string got;
    bool second_cancelled = false;
    const auto reader = [&]() -> Future<void> {
      got = co_await server.read_until("\n");
      try {
        got += co_await server.read_until("\n");
      } catch (const CancelledError&) {
        second_cancelled = true;
      }
    };
    client.write("one\n");
    loop.run_until([&] { return !client.writing(); });
    test::wait_for_events(server.fileno(), POLLIN);
    // The read is satisfied inside this call; the coroutine has not gone on yet.
    const Future<std::string> line = server.read_bytes(4);
    loop.run_until([&] { return line.done(); });
    CHECK_FALSE(line.cancel());
    CHECK(line.result() == "one\n");
    const Future<void> future = reader();
    client.write("two\n");
    loop.run_until([&] { return got == "two\n"; });
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(second_cancelled);
    client.write("three\n");
    CHECK(test::result(loop, server.read_until("\n")) == "three\n");
  }
}
