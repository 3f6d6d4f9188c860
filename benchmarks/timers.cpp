// SPDX-License-Identifier: Apache-2.0
//
// What a timer costs here, in Asio (a steady_timer each) and in libuv (an uv_timer_t each), while
// 100,000 others wait: scheduling it, removing it before it is due, and running it when it is. The
// handlers that Asio calls for what was removed are not counted.
#include "timers.hpp"

#include <tornado/tornado.hpp>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace tornado;

namespace {

constexpr int rounds = 5;

TimerCosts timers() {
  IOLoop loop(IOLoop::MakeCurrent::never);
  for (const auto delay : far_delays()) loop.call_later(delay, [] {});

  TimerCosts costs{};
  const auto to_remove = far_delays();
  std::vector<Timeout> timeouts;
  timeouts.reserve(pending);
  auto begin = Clock::now();
  for (const auto delay : to_remove) timeouts.push_back(loop.call_later(delay, [] {}));
  costs.schedule = nanoseconds_each(begin, pending);
  begin = Clock::now();
  for (const Timeout& timeout : timeouts) loop.remove_timeout(timeout);
  costs.remove = nanoseconds_each(begin, pending);

  int left = pending;
  for (const auto delay : near_delays()) {
    loop.call_later(delay, [&loop, &left] {
      if (--left == 0) loop.stop();
    });
  }
  std::this_thread::sleep_for(until_all_are_due);
  begin = Clock::now();
  loop.start();
  costs.fire = nanoseconds_each(begin, pending);
  return costs;
}

void keep_least(TimerCosts& best, const TimerCosts& costs) {
  best.schedule = std::min(best.schedule, costs.schedule);
  best.remove = std::min(best.remove, costs.remove);
  best.fire = std::min(best.fire, costs.fire);
}

}  // namespace

int main() {
  constexpr double none = std::numeric_limits<double>::infinity();
  TimerCosts ours{none, none, none};
  TimerCosts asio = ours;
  TimerCosts libuv = ours;
  for (int round = 0; round < rounds; ++round) {
    keep_least(ours, timers());
    keep_least(asio, timers_in_asio());
    keep_least(libuv, timers_in_libuv());
  }
  print_header({"here", "Asio", "libuv"});
  print_row("call_later", {ours.schedule, asio.schedule, libuv.schedule});
  print_row("remove_timeout", {ours.remove, asio.remove, libuv.remove});
  print_row("running a timeout", {ours.fire, asio.fire, libuv.fire});
}
