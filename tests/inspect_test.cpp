// SPDX-License-Identifier: Apache-2.0
#include "tornado/inspect.hpp"

#include "loop_support.hpp"
#include "stream_support.hpp"
#include "support.hpp"
#include "tornado/asyncgen.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <algorithm>
#include <csignal>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t line_of_wait = std::source_location::current().line() + 1;
Future<int> wait_for(Future<int> future) { co_return co_await future; }

Future<int> outer(Future<int> future) {
  const Future<int> inner = wait_for(std::move(future));
  co_return co_await inner;
}

Future<void> pass_an_iteration() { co_await gen::moment; }

Future<std::string> read_line(IOStream stream) { co_return co_await stream.read_until("\n"); }

gen::AsyncGenerator<int> numbers() { co_yield 1; }

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

/// Keeps the thread busy until `time` has passed.
void spin(std::chrono::nanoseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}
void spin_2ms() { spin(2ms); }

const inspect::Coroutine& find(const std::vector<inspect::Coroutine>& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(), [name](const auto& each) {
    return each.function.find(name) != std::string::npos;
  });
  REQUIRE_MESSAGE(found != all.end(), "there is no such coroutine");
  return *found;
}

}  // namespace

TEST_SUITE("inspect") {
  TEST_CASE("coroutines: each with its function, line, and what it waits for, callers first") {
    test::Loop loop;
    Future<int> gate;
    const Future<int> work = outer(gate);
    const auto all = inspect::coroutines(loop);
    REQUIRE(all.size() == 2);
    CHECK(contains(all[0].function, "outer("));
    CHECK(contains(all[0].file, "inspect_test.cpp"));
    CHECK(all[0].waits_for == "coroutine " + std::to_string(all[1].number));
    CHECK(contains(all[1].function, "wait_for("));
    CHECK_FALSE(contains(all[1].function, "Frame"));
    CHECK(all[1].line == line_of_wait);
    CHECK(all[1].waits_for == "a Future");
    gate.set_result(1);
    CHECK(inspect::coroutines(loop)[1].waits_for == "its turn");
    loop.run([&] { return work; });
    CHECK(inspect::coroutines(loop).empty());
  }

  TEST_CASE("coroutines: what the library's own ways to wait wait for") {
    test::Loop loop;
    const Future<void> sleeping = gen::sleep(1h);
    const Future<int> limited = gen::with_timeout(1h, Future<int>());
    const Future<std::vector<int>> several =
        gen::multi(std::vector<Future<int>>{Future<int>(), wait_for(Future<int>())});
    const Future<std::size_t> any = gen::when_any(Future<int>(), Future<int>());
    const Future<void> pausing = pass_an_iteration();
    const auto all = inspect::coroutines(loop);
    CHECK(contains(find(all, "sleep").waits_for, "a timeout in 3"));
    CHECK(contains(find(all, "with_timeout").waits_for, "a Future, or a timeout in 3"));
    CHECK(contains(find(all, "multi_vector").waits_for, "all of a Future, coroutine "));
    CHECK(find(all, "wait_for_first").waits_for == "the first of a Future, a Future");
    CHECK(find(all, "pass_an_iteration").waits_for == "the next iteration");
  }

  TEST_CASE("coroutines: streams and generators") {
    test::Loop loop;
    auto [here, there] = test::make_iostream_pair(test::Transport::local);
    const Future<std::string> reading = read_line(here);
    gen::AsyncGenerator<int> generator = numbers();
    const Future<std::optional<int>> next = generator.next();
    const auto all = inspect::coroutines(loop);
    CHECK(find(all, "read_line").waits_for == "a read from fd " + std::to_string(here.fileno()));
    // Stopped at a value it belongs to its handle: it waits for nothing of the loop's.
    CHECK(all.size() == 1);
  }

  TEST_CASE("dump: a line each") {
    test::Loop loop;
    CHECK(inspect::dump(loop).empty());
    const Future<int> work = wait_for(Future<int>());
    const std::string text = inspect::dump(loop);
    CHECK(contains(text, ") at "));
    CHECK(contains(text,
                   "inspect_test.cpp:" + std::to_string(line_of_wait) + " waits for a Future\n"));
  }

  TEST_CASE("dump_on_signal: logs what is suspended, until the handler is removed") {
    test::Loop loop;
    const Future<int> work = wait_for(Future<int>());
    inspect::dump_on_signal(loop, SIGUSR1);
    {
      const test::ExpectLog log(log::app_log, "1 coroutine is suspended\ncoroutine ",
                                LogLevel::warning);
      ::raise(SIGUSR1);
      loop.run_until([&] { return log.count() == 1; });
    }
    CHECK(loop.remove_signal_handler(SIGUSR1));
  }

  TEST_CASE("metrics: what has run, and what is left") {
    test::Loop loop;
    const auto before = inspect::metrics(loop);
    int ran = 0;
    for (int i = 0; i < 3; ++i) loop.add_callback([&] { ++ran; });
    loop.run_until([&] { return ran == 3; });
    const auto after = inspect::metrics(loop);
    CHECK(after.turns > before.turns);
    CHECK(after.callbacks >= before.callbacks + 3);
    CHECK(after.busy == 0ns);
    CHECK(after.idle == 0ns);

    const Timeout timeout = loop.call_later(1h, [] {});
    const Future<int> work = wait_for(Future<int>());
    CHECK(inspect::metrics(loop).timeouts == 1);
    CHECK(inspect::metrics(loop).coroutines == 1);
    loop.remove_timeout(timeout);
    CHECK(inspect::metrics(loop).timeouts == 0);

    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    loop.add_handler(
        ends[0], [](int, int) {}, IOLoop::READ);
    CHECK(inspect::metrics(loop).handlers == 1);
    loop.remove_handler(ends[0]);
    CHECK(inspect::metrics(loop).handlers == 0);
    ::close(ends[0]);
    ::close(ends[1]);

    loop.add_callback([&] { loop.add_callback([] {}); });
    loop.add_callback([&] { CHECK(inspect::metrics(loop).queued == 1); });
    loop.iterate(2);
  }

  TEST_CASE("measure_time: busy in turns, idle between them") {
    test::Loop loop;
    inspect::measure_time(loop);
    loop.call_later(2ms, [&] {
      spin(2ms);
      loop.stop();
    });
    loop.wait();
    const auto metrics = inspect::metrics(loop);
    CHECK(metrics.busy >= 2ms);
    CHECK(metrics.idle >= 1ms);
    inspect::measure_time(loop, false);
    CHECK(inspect::metrics(loop).busy == 0ns);
  }

  TEST_CASE("report_slow_callbacks: names the callback, the handler, the coroutine") {
    test::Loop loop;
    inspect::report_slow_callbacks(loop, 1ms);
    SUBCASE("a callable") {
      const test::ExpectLog log(log::app_log, "a callback of type ", LogLevel::warning);
      loop.add_callback([] { spin(2ms); });
      loop.iterate(2);
    }
    SUBCASE("a function") {
      const test::ExpectLog log(log::app_log, "the function at 0x", LogLevel::warning);
      loop.add_callback(spin_2ms);
      loop.iterate(2);
    }
    SUBCASE("a timeout") {
      const test::ExpectLog log(log::app_log, "the function at 0x", LogLevel::warning);
      bool done = false;
      loop.call_later(0, spin, 2ms);
      loop.call_later(0, [&] { done = true; });
      loop.run_until([&] { return done; });
    }
    SUBCASE("a handler") {
      const test::ExpectLog log(log::app_log, "the handler of fd ", LogLevel::warning);
      int ends[2];
      REQUIRE(::pipe(ends) == 0);
      REQUIRE(::write(ends[1], "x", 1) == 1);
      bool done = false;
      loop.add_handler(
          ends[0],
          [&](int fd, int) {
            spin(2ms);
            loop.remove_handler(fd);
            done = true;
          },
          IOLoop::READ);
      loop.run_until([&] { return done; });
      ::close(ends[0]);
      ::close(ends[1]);
    }
    SUBCASE("a coroutine") {
      const test::ExpectLog log(log::app_log, "a coroutine, ", LogLevel::warning);
      const auto slow = []() -> Future<void> {
        co_await gen::moment;
        spin(2ms);
      };
      loop.run(slow);
    }
  }

  TEST_CASE("report_slow_callbacks: what is fast is not reported, and with zero nothing") {
    test::Loop loop;
    inspect::report_slow_callbacks(loop, 1h);
    loop.add_callback([] { spin(2ms); });
    loop.iterate(2);
    inspect::report_slow_callbacks(loop, 1ms);
    inspect::report_slow_callbacks(loop, 0ns);
    loop.add_callback([] { spin(2ms); });
    loop.iterate(2);
  }

  TEST_CASE("report_leaks: at close, what is suspended") {
    test::Loop loop;
    inspect::report_leaks(loop);
    SUBCASE("a coroutine") {
      const Future<int> work = wait_for(Future<int>());
      const test::ExpectLog log(log::app_log,
                                "the loop is closed with 1 coroutine suspended:\ncoroutine ",
                                LogLevel::warning);
      loop.close();
    }
    SUBCASE("nothing") { loop.close(); }
  }

  TEST_CASE("a closed loop is refused") {
    test::Loop loop;
    loop.close();
    CHECK_THROWS_AS(static_cast<void>(inspect::dump(loop)), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(inspect::metrics(loop)), std::logic_error);
  }
}
