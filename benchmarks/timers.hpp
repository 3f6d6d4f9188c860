// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the timers benchmark share.
#pragma once

#include "table.hpp"

#include <chrono>
#include <cstdint>
#include <vector>

inline constexpr int pending = 100'000;

// Nanoseconds of one, while `pending` others wait.
struct TimerCosts {
  double schedule;
  double remove;
  double fire;
};

TimerCosts timers_in_asio();
TimerCosts timers_in_libuv();  // infinite when built without

/// `pending` delays from `least` up to `most`, in an order without an order.
inline std::vector<std::chrono::milliseconds> delays(int least, int most) {
  std::vector<std::chrono::milliseconds> result;
  std::uint64_t number = 1;
  for (int i = 0; i < pending; ++i) {
    number = number * 6364136223846793005U + 1442695040888963407U;
    result.emplace_back(least +
                        static_cast<int>((number >> 33) % static_cast<unsigned>(most - least)));
  }
  return result;
}

// Those that wait all the time, those that are scheduled and removed, and those that fire.
inline std::vector<std::chrono::milliseconds> far_delays() { return delays(100'000, 1'000'000); }
inline std::vector<std::chrono::milliseconds> near_delays() { return delays(1, 20); }
inline constexpr std::chrono::milliseconds until_all_are_due{25};
