// SPDX-License-Identifier: Apache-2.0
//
// What is sent: lines of 32 bytes, no two alike, over and over. So a byte that is lost, doubled,
// changed or given to another connection is noticed.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

class Pattern {
 public:
  static constexpr std::size_t line = 32;
  static constexpr std::size_t largest = 65536;  // that can be asked for at a time

  Pattern() {
    for (std::size_t i = 0; i < 2 * lines; ++i) {
      bytes_ += fmt::format("{:0>{}}\n", (i % lines) * 7919 + 1, line - 1);
    }
  }

  /// The `size` bytes of `connection` that begin at `position`.
  std::string_view at(std::size_t connection, std::uint64_t position, std::size_t size) const {
    return {bytes_.data() + (position + connection * 61 * line) % (lines * line), size};
  }

 private:
  // A prime, so that what is doubled or lost in pieces of a round size shows.
  static constexpr std::size_t lines = 2053;
  static_assert(lines * line >= largest);

  std::string bytes_;
};
