// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of the coroutine benchmark share.
#pragma once

#include <chrono>

using Clock = std::chrono::steady_clock;

inline constexpr int calls = 2'000'000;

inline double nanoseconds_each(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / calls;
}

// Nanoseconds of a call and co_await in asio::awaitable; infinity where Asio knows no coroutines.
double ready_in_asio();
double suspending_in_asio();
