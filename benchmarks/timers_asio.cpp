// SPDX-License-Identifier: Apache-2.0
//
// The part of the timers benchmark that is Asio.
#include "timers.hpp"

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <deque>
#include <system_error>
#include <thread>

TimerCosts timers_in_asio() {
  asio::io_context io(1);
  std::deque<asio::steady_timer> timers;
  for (const auto delay : far_delays()) {
    timers.emplace_back(io, delay).async_wait([](const std::error_code&) {});
  }

  TimerCosts costs{};
  const auto to_remove = far_delays();
  std::deque<asio::steady_timer> removed;
  auto begin = Clock::now();
  for (const auto delay : to_remove) {
    removed.emplace_back(io, delay).async_wait([](const std::error_code&) {});
  }
  costs.schedule = nanoseconds_each(begin, pending);
  begin = Clock::now();
  for (asio::steady_timer& timer : removed) timer.cancel();
  costs.remove = nanoseconds_each(begin, pending);
  io.poll();

  int left = pending;
  for (const auto delay : near_delays()) {
    timers.emplace_back(io, delay).async_wait([&io, &left](const std::error_code&) {
      if (--left == 0) io.stop();
    });
  }
  std::this_thread::sleep_for(until_all_are_due);
  begin = Clock::now();
  io.run();
  costs.fire = nanoseconds_each(begin, pending);
  return costs;
}
