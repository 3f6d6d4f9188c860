// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks within one process print, for people and for benchmarks/bench: columns with
// two spaces or more between them.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <initializer_list>
#include <string_view>

using Clock = std::chrono::steady_clock;

/// Nanoseconds for each of `count`, since `begin`.
inline double nanoseconds_each(Clock::time_point begin, int count) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / count;
}

inline void print_header(std::initializer_list<std::string_view> columns) {
  fmt::print("{:<40}", "nanoseconds each");
  for (const std::string_view column : columns) fmt::print("  {:>10}", column);
  fmt::print("\n");
}

/// What is not finite was not measured.
inline void print_row(std::string_view what, std::initializer_list<double> values) {
  fmt::print("{:<40}", what);
  for (const double value : values) {
    if (std::isfinite(value)) {
      fmt::print("  {:>10.1f}", value);
    } else {
      fmt::print("  {:>10}", "-");
    }
  }
  fmt::print("\n");
}
