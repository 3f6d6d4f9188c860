// SPDX-License-Identifier: Apache-2.0
//
// Timeouts.
#include "ioloop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::at_end;
using test::CustomError;
using test::resident_bytes;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_SUITE("ioloop") {
  // ---- Timeouts -------------------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoop.test_add_timeout_timedelta
  TEST_CASE("IOLoop.add_timeout: a duration counts from now") {
    test::Loop loop;
    const auto before = IOLoop::Clock::now();
    IOLoop::Clock::time_point ran;
    loop.add_timeout(1us, [&] { loop.stop(); });
    loop.wait();
    loop.add_timeout(3ms, [&] {
      ran = IOLoop::Clock::now();
      loop.stop();
    });
    loop.wait();
    CHECK(ran >= before + 3ms);
  }

  // Python: ioloop_test.TestIOLoop.test_timeout_with_arguments
  TEST_CASE("IOLoop: all the timeout methods pass arguments on") {
    test::Loop loop;
    std::vector<int> results;
    const auto append = [&](int value) { results.push_back(value); };
    loop.add_timeout(IOLoop::Clock::now(), append, 1);
    loop.add_timeout(0s, append, 2);
    loop.call_at(loop.time(), append, 3);
    loop.call_later(0, append, 4);
    loop.call_at(IOLoop::Clock::now(), append, 5);
    loop.call_later(0ms, append, 6);
    loop.call_later(0, [&] { loop.stop(); });
    loop.wait();
    std::sort(results.begin(), results.end());
    CHECK(results == std::vector{1, 2, 3, 4, 5, 6});
  }

  // Python: ioloop_test.TestIOLoop.test_add_timeout_return
  TEST_CASE("IOLoop.add_timeout: returns what remove_timeout accepts (L12)") {
    test::Loop loop;
    bool called = false;
    const Timeout handle = loop.add_timeout(IOLoop::Clock::now(), [&] { called = true; });
    CHECK(static_cast<bool>(handle));
    loop.remove_timeout(handle);
    loop.iterate(2);
    CHECK_FALSE(called);
  }

  // Python: ioloop_test.TestIOLoop.test_call_at_return
  TEST_CASE("IOLoop.call_at: returns what remove_timeout accepts (L12)") {
    test::Loop loop;
    bool called = false;
    const Timeout handle = loop.call_at(loop.time(), [&] { called = true; });
    CHECK(static_cast<bool>(handle));
    loop.remove_timeout(handle);
    loop.iterate(2);
    CHECK_FALSE(called);
  }

  // Python: ioloop_test.TestIOLoop.test_call_later_return
  TEST_CASE("IOLoop.call_later: returns what remove_timeout accepts (L12)") {
    test::Loop loop;
    bool called = false;
    const Timeout handle = loop.call_later(0, [&] { called = true; });
    CHECK(static_cast<bool>(handle));
    loop.remove_timeout(handle);
    loop.iterate(2);
    CHECK_FALSE(called);
  }

  // Python: ioloop_test.TestIOLoop.test_remove_timeout_after_fire
  TEST_CASE("IOLoop.remove_timeout: harmless when it has run, was removed, or is none (L9)") {
    test::Loop loop;
    const Timeout handle = loop.add_timeout(IOLoop::Clock::now(), [&] { loop.stop(); });
    loop.wait();
    loop.remove_timeout(handle);
    loop.remove_timeout(handle);
    loop.remove_timeout(Timeout());
    CHECK_FALSE(static_cast<bool>(Timeout()));

    Timeout itself;
    itself = loop.call_later(0, [&] {
      loop.remove_timeout(itself);
      loop.stop();
    });
    loop.wait();
  }

  // Python: ioloop_test.TestIOLoop.test_remove_timeout_from_timeout
  TEST_CASE("IOLoop.remove_timeout: from a timeout, of one that is due as well (L8 L9)") {
    test::Loop loop;
    std::vector<bool> calls{false, false};
    const auto now = IOLoop::Clock::now();
    Timeout t2;
    loop.add_timeout(now + 10ms, [&] {
      calls[0] = true;
      loop.remove_timeout(t2);
    });
    t2 = loop.add_timeout(now + 20ms, [&] { calls[1] = true; });
    loop.add_timeout(now + 30ms, [&] { loop.stop(); });
    std::this_thread::sleep_until(now + 30ms);  // so that all are due at once
    loop.wait();
    CHECK(calls == std::vector<bool>{true, false});
  }

  TEST_CASE("IOLoop.remove_timeout: a removed timeout never runs, wherever it is removed (L8)") {
    test::Loop loop;
    bool called = false;
    const auto never = [&] { called = true; };
    const auto due = IOLoop::Clock::now();
    const Timeout by_callback = loop.call_at(due, never);
    const Timeout by_done_callback = loop.call_at(due, never);
    const Timeout outside = loop.call_at(due, never);
    Timeout by_earlier;
    loop.remove_timeout(outside);
    loop.add_callback([&] { loop.remove_timeout(by_callback); });
    make_ready_future(1).add_done_callback([&] { loop.remove_timeout(by_done_callback); });
    loop.call_at(due, [&] { loop.remove_timeout(by_earlier); });
    by_earlier = loop.call_at(due, never);
    loop.call_later(5ms, [&] { loop.stop(); });
    loop.wait();
    CHECK_FALSE(called);
  }

  TEST_CASE("IOLoop.remove_timeout: the callable goes at once, and may do as it likes (L10)") {
    test::Loop loop;
    bool destroyed = false;
    Timeout other = loop.call_later(1h, [] {});
    const Timeout handle = loop.call_later(1h, [end = at_end([&] {
                                                  destroyed = true;
                                                  loop.remove_timeout(other);
                                                  loop.call_later(1h, [] {});
                                                })] {});
    loop.remove_timeout(handle);
    CHECK(destroyed);
    CHECK(static_cast<bool>(handle));
  }

  // Python: ioloop_test.TestIOLoop.test_remove_timeout_cleanup
  TEST_CASE("IOLoop.remove_timeout: a million far timeouts leave no memory behind (L10)") {
    test::Loop loop;
    for (int i = 0; i < 2000; ++i) {
      const Timeout timeout = loop.add_timeout(1h, [] {});
      loop.remove_timeout(timeout);
    }
    loop.iterate(2);

    const long bytes = resident_bytes();
    for (int i = 0; i < (test::sanitized ? 10'000 : 1'000'000); ++i) {
      const Timeout timeout = loop.call_later(3600, [memory = std::string(200, 'x')] {});
      loop.remove_timeout(timeout);
    }
    if (!test::sanitized) CHECK(resident_bytes() < bytes + 1'000'000);

    std::vector<Timeout> timeouts;
    for (int i = 0; i < 100'000; ++i) timeouts.push_back(loop.call_later(3600 + i, [] {}));
    const long peak = resident_bytes();
    for (const Timeout& timeout : timeouts) loop.remove_timeout(timeout);
    timeouts.clear();
    for (int i = 0; i < 100'000; ++i) timeouts.push_back(loop.call_later(3600 + i, [] {}));
    if (!test::sanitized) CHECK(resident_bytes() < peak + 2'000'000);
    loop.iterate(2);
  }

  TEST_CASE("IOLoop.call_at: those with the same deadline run in the order of adding (L11)") {
    test::Loop loop;
    const auto when = IOLoop::Clock::now() + 2ms;
    std::vector<int> order;
    std::vector<Timeout> timeouts;
    for (int i = 0; i < 100; ++i) {
      timeouts.push_back(loop.call_at(when, [&order, i] { order.push_back(i); }));
    }
    for (std::size_t i = 0; i < 100; i += 7) loop.remove_timeout(timeouts[i]);
    loop.call_at(when, [&] { loop.stop(); });
    loop.wait();
    std::vector<int> expected;
    for (int i = 0; i < 100; ++i) {
      if (i % 7 != 0) expected.push_back(i);
    }
    CHECK(order == expected);
  }

  TEST_CASE(
      "IOLoop.call_at: thousands added and removed at random run by deadline, then order (L11)") {
    test::Loop loop;
    std::mt19937 random(7);  // NOLINT: the same each time
    const auto begin = IOLoop::Clock::now();
    std::map<std::pair<int, int>, Timeout> pending;
    std::vector<std::pair<int, int>> order;
    for (int i = 0; i < 5000; ++i) {
      const std::pair key(static_cast<int>(random() % 200), i);
      pending[key] =
          loop.call_at(begin + key.first * 10us, [&order, key] { order.push_back(key); });
      if (random() % 3 == 0) {
        auto victim = pending.lower_bound({static_cast<int>(random() % 200), 0});
        if (victim == pending.end()) victim = pending.begin();
        loop.remove_timeout(victim->second);
        pending.erase(victim);
      }
    }
    loop.call_at(begin + 10ms, [&] { loop.stop(); });
    loop.wait();
    std::vector<std::pair<int, int>> expected;
    for (const auto& entry : pending) expected.push_back(entry.first);
    CHECK(order == expected);
  }

  TEST_CASE("IOLoop.call_later: an earlier timeout added later runs first") {
    test::Loop loop;
    std::string order;
    loop.call_later(10ms, [&] {
      order += "c";
      loop.stop();
    });
    loop.call_later(5ms, [&] { order += "b"; });
    loop.call_later(1ms, [&] { order += "a"; });
    loop.wait();
    CHECK(order == "abc");
  }

  TEST_CASE("IOLoop.call_later: NaN is an error from the call, and the loop goes on") {
    test::Loop loop;
    CHECK_THROWS_WITH_AS(loop.call_later(not_a_number, [] {}), doctest::Contains("NaN"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(loop.call_at(not_a_number, [] {}), doctest::Contains("NaN"),
                         std::invalid_argument);
    CHECK_THROWS_AS(loop.add_timeout(std::chrono::duration<double>(not_a_number), [] {}),
                    std::invalid_argument);
    CHECK(loop.run([] { return 1; }) == 1);
  }

  TEST_CASE("IOLoop.call_later: what is past runs in the next iteration, what is too far never") {
    test::Loop loop;
    int past = 0;
    bool far = false;
    loop.call_later(-5, [&] { ++past; });
    loop.call_later(-infinity, [&] { ++past; });
    loop.call_later(-1h, [&] { ++past; });
    loop.call_at(loop.time() - 100, [&] { ++past; });
    loop.call_at(-infinity, [&] { ++past; });
    loop.call_at(IOLoop::Clock::time_point::min(), [&] { ++past; });
    loop.call_later(infinity, [&] { far = true; });
    loop.call_later(1e300, [&] { far = true; });
    loop.call_at(infinity, [&] { far = true; });
    loop.call_at(IOLoop::Clock::time_point::max(), [&] { far = true; });
    CHECK(past == 0);
    loop.call_later(2ms, [&] { loop.stop(); });
    loop.wait();
    CHECK(past == 6);
    CHECK_FALSE(far);
  }

  TEST_CASE(
      "IOLoop.call_later: a due timeout that adds another does not keep others waiting (L4)") {
    test::Loop loop;
    int count = 0;
    std::function<void()> again = [&] {
      ++count;
      loop.call_later(0, std::ref(again));
    };
    loop.call_later(0, std::ref(again));
    loop.add_callback([&] { loop.add_callback([&] { loop.stop(); }); });
    loop.wait();
    CHECK(count < 100);
  }

  TEST_CASE("IOLoop.time: monotonic, and what call_at takes (L13)") {
    static_assert(IOLoop::Clock::is_steady);
    test::Loop loop;
    const double before = loop.time();
    double ran = 0;
    loop.call_at(before + 0.003, [&] {
      ran = loop.time();
      loop.stop();
    });
    loop.wait();
    CHECK(ran >= before + 0.003);
  }

  TEST_CASE("IOLoop.call_later: a coroutine that it calls is kept alive, its failure logged") {
    test::Loop loop;
    const test::ExpectLog expected(log::app_log, "CustomError: text");
    loop.call_later(0, [text = std::string("text")]() -> Future<void> {
      co_await gen::moment;
      throw CustomError(text);
    });
    loop.run_until([&] { return expected.count() > 0; });
    CHECK(expected.count() == 1);
  }

  TEST_CASE("Timeout: the handle may outlive the loop") {
    Timeout pending;
    Timeout ran;
    std::optional<test::Loop> loop(std::in_place);
    pending = loop->call_later(1h, [] {});
    ran = loop->call_later(0, [&] { loop->stop(); });
    loop->wait();
    loop.reset();
    const Timeout copy = pending;
    test::Loop other;
    other.remove_timeout(pending);
    other.remove_timeout(ran);
    CHECK(static_cast<bool>(copy));
  }
}
