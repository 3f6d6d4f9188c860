// SPDX-License-Identifier: Apache-2.0
//
// The part of the timers benchmark that is libuv.
#include "timers.hpp"

#include <limits>

#ifdef BENCHMARK_LIBUV
#include <thread>
#include <vector>

#include <uv.h>

namespace {

void schedule(uv_loop_t* loop, uv_timer_t& timer, std::chrono::milliseconds delay,
              uv_timer_cb callback) {
  uv_timer_init(loop, &timer);
  uv_timer_start(&timer, callback, static_cast<std::uint64_t>(delay.count()), 0);
}

}  // namespace

TimerCosts timers_in_libuv() {
  uv_loop_t loop;
  uv_loop_init(&loop);
  std::vector<uv_timer_t> timers(3 * pending);
  std::size_t used = 0;
  for (const auto delay : far_delays()) schedule(&loop, timers[used++], delay, [](uv_timer_t*) {});

  TimerCosts costs{};
  const auto to_remove = far_delays();
  auto begin = Clock::now();
  for (const auto delay : to_remove) schedule(&loop, timers[used++], delay, [](uv_timer_t*) {});
  costs.schedule = nanoseconds_each(begin, pending);
  begin = Clock::now();
  for (std::size_t i = pending; i < used; ++i) uv_timer_stop(&timers[i]);
  costs.remove = nanoseconds_each(begin, pending);

  int left = pending;
  uv_update_time(&loop);
  for (const auto delay : near_delays()) {
    timers[used].data = &left;
    schedule(&loop, timers[used++], delay, [](uv_timer_t* timer) {
      if (--*static_cast<int*>(timer->data) == 0) uv_stop(timer->loop);
    });
  }
  std::this_thread::sleep_for(until_all_are_due);
  begin = Clock::now();
  uv_run(&loop, UV_RUN_DEFAULT);
  costs.fire = nanoseconds_each(begin, pending);

  for (uv_timer_t& timer : timers) uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return costs;
}
#else
TimerCosts timers_in_libuv() {
  constexpr double none = std::numeric_limits<double>::infinity();
  return {none, none, none};
}
#endif
