// SPDX-License-Identifier: Apache-2.0
//
// PeriodicCallback.
#include "ioloop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;

namespace {

using Clock = IOLoop::Clock;
using Seconds = std::chrono::duration<double>;

// At which seconds the calls are due that take `durations`, negative when the clock is set back
// meanwhile, the first after `start`. Python: simulate_calls.
std::vector<double> simulate_calls(const std::vector<double>& intervals,
                                   const std::vector<double>& durations) {
  const auto ticks = [](double seconds) {
    return std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
  };
  std::vector<double> calls;
  Clock::time_point next(1000s);
  Clock::time_point now(1000s);
  for (std::size_t i = 0; i < durations.size(); ++i) {
    next = detail::next_tick(next, now, ticks(intervals[i % intervals.size()]));
    calls.push_back(Seconds(next.time_since_epoch()).count());
    now = next + ticks(durations[i]);
  }
  return calls;
}

void spin_for(Clock::duration length) {
  const auto end = Clock::now() + length;
  while (Clock::now() < end) {
  }
}

// A PeriodicCallback among timeouts for each tick's earliest and latest moment, which differ by how
// long start() takes. Timeouts run in the order of their deadlines however slow the machine is: a
// call that lies on the grid has the two of one tick for neighbours.
class Grid {
 public:
  static constexpr auto period = 4ms;

  template <class F>
  Grid(test::Loop& loop, int ticks, F callback)
      : callback_(
            [this, callback] {
              order_.push_back(0);
              callback();
            },
            period) {
    const auto before = Clock::now();
    callback_.start();
    const auto after = Clock::now();
    for (int k = 1; k <= ticks; ++k) {
      loop.call_at(before + k * period - 1ns, [this, k] { order_.push_back(k); });
      loop.call_at(after + k * period + 1ns, [this, k] { order_.push_back(-k); });
    }
    loop.call_at(after + (ticks + 1) * period, [&loop] { loop.stop(); });
    loop.wait();
    callback_.stop();
  }

  // The ticks at which there were calls. One behind the last tick is left out.
  std::vector<int> calls() const {
    std::vector<int> ticks;
    for (std::size_t i = 1; i + 1 < order_.size(); ++i) {
      if (order_[i] != 0) continue;
      CHECK(order_[i - 1] > 0);
      CHECK(order_[i + 1] == -order_[i - 1]);
      ticks.push_back(order_[i - 1]);
    }
    return ticks;
  }

 private:
  PeriodicCallback callback_;
  std::vector<int> order_;
};

}  // namespace

TEST_SUITE("ioloop") {
  // ---- When it is due -------------------------------------------------------------------------

  // Python: ioloop_test.TestPeriodicCallbackMath.test_basic
  TEST_CASE("PeriodicCallback: ticks lie one period apart (P1)") {
    CHECK(simulate_calls({10}, {0, 0, 0, 0, 0}) ==
          std::vector<double>{1010, 1020, 1030, 1040, 1050});
  }

  // Python: ioloop_test.TestPeriodicCallbackMath.test_overrun
  TEST_CASE("PeriodicCallback: calls that take too long skip ticks, and rejoin the grid (P2)") {
    CHECK(simulate_calls({10}, {9, 9, 10, 11, 20, 20, 35, 35, 0, 0, 0}) ==
          std::vector<double>{1010, 1020, 1030, 1050, 1070, 1100, 1130, 1170, 1210, 1220, 1230});
  }

  TEST_CASE("PeriodicCallback: a huge step of the clock takes one call (P3)") {
    const auto start = Clock::time_point();
    const auto late = start + std::chrono::hours(24 * 365 * 200) + 500us;
    CHECK(detail::next_tick(start, late, 1ms) == late + 500us);
    CHECK(detail::next_tick(start, late, 1ns) == late + 1ns);
  }

  // Python: ioloop_test.TestPeriodicCallbackMath.test_clock_backwards
  TEST_CASE("PeriodicCallback: a clock that steps back brings no tick twice (P4)") {
    CHECK(simulate_calls({10}, {-2, -1, -3, -2, 0}) ==
          std::vector<double>{1010, 1020, 1030, 1040, 1050});
    CHECK(simulate_calls({10}, {-100, 0, 0}) == std::vector<double>{1010, 1020, 1030});
  }

  // Python: ioloop_test.TestPeriodicCallbackMath.test_jitter
  TEST_CASE("PeriodicCallback: jitter spreads the intervals around the period (P6)") {
    std::vector<double> intervals;
    for (const double random : {0.5, 1.0, 0.0, 0.75}) {
      intervals.push_back(Seconds(detail::jittered(10s, 0.5, random)).count());
    }
    CHECK(simulate_calls(intervals, {0, 0, 0, 0}) ==
          std::vector<double>{1010, 1022.5, 1030, 1041.25});
  }

  TEST_CASE("PeriodicCallback: jitter keeps to its bounds, and to the period on the average (P6)") {
    CHECK(detail::jittered(10ms, 0.2, 0) == 9ms);
    CHECK(detail::jittered(10ms, 0.2, 0.5) == 10ms);
    CHECK(detail::jittered(10ms, 0.2, 1) == 11ms);
    CHECK(detail::jittered(1ns, 1.9, 0) == 1ns);  // never nothing
    CHECK(detail::jittered(Clock::duration::max(), 1, 1) == Clock::duration::max());

    test::Loop loop;
    std::vector<Clock::time_point> calls{Clock::now()};
    PeriodicCallback callback(
        [&] {
          calls.push_back(Clock::now());
          if (calls.size() == 20) loop.stop();
        },
        4ms, 0.5);
    callback.start();
    loop.wait();
    CHECK(calls.back() - calls.front() >= 19 * 3ms);
  }

  // Python: ioloop_test.TestPeriodicCallbackMath.test_timedelta
  TEST_CASE("PeriodicCallback: takes durations of any unit, however long") {
    test::Loop loop;
    int calls = 0;
    const auto count = [&] { ++calls; };
    PeriodicCallback minutes(count, std::chrono::duration<double, std::ratio<60>>(0.0001));
    PeriodicCallback hours(count, 1h);
    PeriodicCallback longest(count, std::chrono::hours::max());
    PeriodicCallback for_ever(count, Seconds(std::numeric_limits<double>::infinity()), 1.5);
    minutes.start();  // every 6 ms
    hours.start();
    longest.start();
    for_ever.start();
    loop.run_until([&] { return calls >= 3; });
  }

  // ---- Calls ----------------------------------------------------------------------------------

  // Python: ioloop_test.TestPeriodicCallback.test_basic
  TEST_CASE("PeriodicCallback: how long the callback takes does not shift the ticks (P1)") {
    test::Loop loop;
    const Grid grid(loop, 30, [] { spin_for(Grid::period / 2); });
    const std::vector<int> ticks = grid.calls();
    CHECK(ticks.size() >= 2);
    CHECK(std::adjacent_find(ticks.begin(), ticks.end()) == ticks.end());
  }

  // Python: ioloop_test.TestPeriodicCallback.test_overrun
  TEST_CASE("PeriodicCallback: one that takes longer than the period misses ticks (P2)") {
    test::Loop loop;
    const Grid grid(loop, 30, [] { spin_for(Grid::period * 3 / 2); });
    const std::vector<int> ticks = grid.calls();
    CHECK(ticks.size() >= 2);
    for (std::size_t i = 1; i < ticks.size(); ++i) CHECK(ticks[i] - ticks[i - 1] >= 2);
  }

  // Python: ioloop_test.TestPeriodicCallbackAsync.test_periodic_plain
  TEST_CASE("PeriodicCallback: calls a plain function again and again") {
    test::Loop loop;
    int count = 0;
    PeriodicCallback callback(
        [&] {
          if (++count == 3) loop.stop();
        },
        10ms);
    callback.start();
    loop.wait();
    callback.stop();
    CHECK(count == 3);
  }

  // Python: ioloop_test.TestPeriodicCallbackAsync.test_periodic_coro
  TEST_CASE("PeriodicCallback: a coroutine never overlaps itself (P5)") {
    test::Loop loop;
    int begun = 0;
    int ended = 0;
    PeriodicCallback* self = nullptr;
    PeriodicCallback callback(
        [&]() -> Future<void> {
          CHECK(begun == ended);
          ++begun;
          co_await gen::sleep(25ms);
          if (++ended == 3) {
            self->stop();
            loop.add_callback([&] { loop.stop(); });
          }
        },
        10ms);
    self = &callback;
    callback.start();
    loop.wait();
    CHECK(begun == 3);
    CHECK(ended == 3);
  }

  // Python: ioloop_test.TestPeriodicCallbackAsync.test_periodic_async
  TEST_CASE("PeriodicCallback: a function that returns any Future is waited for (P5)") {
    test::Loop loop;
    std::vector<Future<int>> futures;
    PeriodicCallback callback(
        [&] {
          futures.emplace_back();
          if (futures.size() == 3) loop.stop();
          return futures.back();
        },
        1ms);
    callback.start();
    loop.run_until([&] { return !futures.empty(); });
    bool later = false;
    loop.call_later(5ms, [&] { later = true; });
    loop.run_until([&] { return later; });
    CHECK(futures.size() == 1);
    futures[0].set_result(1);
    loop.run_until([&] { return futures.size() == 2; });
    futures[1].set_result(2);
    loop.wait();
    callback.stop();
  }

  TEST_CASE("PeriodicCallback: a failing callback is logged, and the calls go on (P7)") {
    test::Loop loop;
    const test::ExpectLog logged(log::app_log, "Exception in callback: test::CustomError: broken");
    int calls = 0;
    PeriodicCallback plain(
        [&] {
          if (++calls == 3) loop.stop();
          throw CustomError("broken");
        },
        1ms);
    plain.start();
    loop.wait();
    plain.stop();
    CHECK(logged.count() == 3);
    PeriodicCallback coroutine(
        [&]() -> Future<void> {
          if (++calls == 6) loop.stop();
          co_await gen::moment;
          throw CustomError("broken");
        },
        1ms);
    coroutine.start();
    loop.wait();
    coroutine.stop();
    loop.iterate(3);
    CHECK(logged.count() == 6);
  }

  TEST_CASE("PeriodicCallback: one that was cancelled is no failure, and the calls go on (P7)") {
    test::Loop loop;
    int calls = 0;
    PeriodicCallback callback(
        [&] {
          Future<void> future;
          future.cancel();
          if (++calls == 2) loop.stop();
          return future;
        },
        1ms);
    callback.start();
    loop.wait();
    CHECK(calls == 2);
  }

  // ---- Start and stop -------------------------------------------------------------------------

  TEST_CASE("PeriodicCallback.start: looks the loop up, the constructor does not (P8)") {
    IOLoop::clear_current();
    IOLoop* ran_on = nullptr;
    PeriodicCallback callback(
        [&] {
          ran_on = IOLoop::current_or_null();
          ran_on->stop();
        },
        1ms);
    CHECK(IOLoop::current_or_null() == nullptr);
    test::Loop loop;
    callback.start();
    loop.wait();
    CHECK(ran_on == &loop);
    callback.stop();
  }

  TEST_CASE("PeriodicCallback: a period that is not above zero is refused, as is jitter (P9)") {
    const auto nothing = [] {};
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(PeriodicCallback(nothing, 0ms),
                         "PeriodicCallback: the period has to be above zero",
                         std::invalid_argument);
    CHECK_THROWS_AS(PeriodicCallback(nothing, -1ms), std::invalid_argument);
    CHECK_THROWS_AS(PeriodicCallback(nothing, Seconds(nan)), std::invalid_argument);
    CHECK_THROWS_AS(PeriodicCallback(nothing, Seconds(1e-12)), std::invalid_argument);
    CHECK_THROWS_WITH_AS(PeriodicCallback(nothing, 1ms, -0.1),
                         "PeriodicCallback: the jitter has to be at least 0 and below 2",
                         std::invalid_argument);
    CHECK_THROWS_AS(PeriodicCallback(nothing, 1ms, 2.0), std::invalid_argument);
    CHECK_THROWS_AS(PeriodicCallback(nothing, 1ms, nan), std::invalid_argument);
  }

  TEST_CASE("PeriodicCallback.stop: inside the callback it is the last call (P9)") {
    test::Loop loop;
    int calls = 0;
    PeriodicCallback* self = nullptr;
    PeriodicCallback callback(
        [&] {
          ++calls;
          self->stop();
          CHECK_FALSE(self->is_running());
        },
        1ms);
    self = &callback;
    callback.start();
    loop.call_later(10ms, [&] { loop.stop(); });
    loop.wait();
    CHECK(calls == 1);
  }

  TEST_CASE("PeriodicCallback.is_running: between start and stop, however often called (P9)") {
    test::Loop loop;
    int calls = 0;
    PeriodicCallback callback(
        [&] {
          ++calls;
          loop.stop();
        },
        1ms);
    CHECK_FALSE(callback.is_running());
    callback.stop();
    callback.start();
    callback.start();
    CHECK(callback.is_running());
    loop.wait();
    CHECK(calls == 1);  // one chain of calls
    CHECK(callback.is_running());
    callback.stop();
    callback.stop();
    CHECK_FALSE(callback.is_running());
    loop.call_later(5ms, [&] { loop.stop(); });
    loop.wait();
    CHECK(calls == 1);
    callback.start();
    loop.wait();
    CHECK(calls == 2);
  }

  TEST_CASE("PeriodicCallback: stopped and started while its coroutine runs it calls once (P10)") {
    test::Loop loop;
    std::vector<Future<void>> futures;
    PeriodicCallback callback(
        [&] {
          futures.emplace_back();
          return futures.back();
        },
        2ms);
    callback.start();
    loop.run_until([&] { return futures.size() == 1; });
    for (int i = 0; i < 3; ++i) {
      callback.stop();
      callback.start();
    }
    bool later = false;
    loop.call_later(10ms, [&] { later = true; });
    loop.run_until([&] { return later; });
    CHECK(futures.size() == 1);
    futures[0].set_result();
    // Two chains would bring two calls.
    loop.run_until([&] { return futures.size() == 2; });
    later = false;
    loop.call_later(10ms, [&] { later = true; });
    loop.run_until([&] { return later; });
    CHECK(futures.size() == 2);
    callback.stop();
    futures[1].set_result();
    later = false;
    loop.call_later(10ms, [&] { later = true; });
    loop.run_until([&] { return later; });
    CHECK(futures.size() == 2);
  }

  // ---- Lifetimes ------------------------------------------------------------------------------

  TEST_CASE("PeriodicCallback: destroyed, its coroutine goes on with what it captured") {
    test::Loop loop;
    Future<void> gate;
    std::string seen;
    auto callback = std::make_unique<PeriodicCallback>(
        [&, text = std::string(100, 'x')]() -> Future<void> {
          co_await gate;
          seen = text;
          loop.stop();
        },
        1ms);
    callback->start();
    bool begun = false;
    loop.call_later(5ms, [&] { begun = true; });
    loop.run_until([&] { return begun; });
    callback.reset();
    gate.set_result();
    loop.wait();
    CHECK(seen == std::string(100, 'x'));
  }

  TEST_CASE("PeriodicCallback: may be destroyed inside its callback") {
    test::Loop loop;
    std::unique_ptr<PeriodicCallback> callback;
    std::string seen;
    callback = std::make_unique<PeriodicCallback>(
        [&, text = std::string(100, 'x')] {
          callback.reset();
          seen = text;
          loop.stop();
        },
        1ms);
    callback->start();
    loop.wait();
    CHECK(seen == std::string(100, 'x'));
  }

  TEST_CASE("PeriodicCallback: outlives its loop, and starts again on another") {
    int calls = 0;
    Future<void> never;
    PeriodicCallback callback(
        [&]() -> Future<void> {
          ++calls;
          if (calls == 1) {
            IOLoop::current().stop();
            co_await never;
          }
          IOLoop::current().stop();
        },
        1ms);
    {
      test::Loop loop;
      callback.start();
      loop.wait();
    }
    CHECK(callback.is_running());  // as far as it knows
    callback.stop();
    test::Loop loop;
    callback.start();
    loop.wait();
    CHECK(calls == 2);
    callback.stop();
  }
}
