// SPDX-License-Identifier: Apache-2.0
//
// What was measured, and the table that shows it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace c10k {

/// Counts durations in buckets no wider than 3 % of what they count: 32 for each power of two.
class Histogram {
 public:
  Histogram();

  void add(std::chrono::nanoseconds duration);

  /// The duration below or at which this share of all lies; zero when there are none.
  ///
  /// \param share  0 to 1.
  std::chrono::nanoseconds quantile(double share) const;
  std::chrono::nanoseconds max() const { return std::chrono::nanoseconds(max_); }

 private:
  std::vector<std::uint64_t> counts_;
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

struct Results {
  std::size_t wanted = 0;  ///< Connections to open.
  std::size_t opened = 0;  ///< Those over which a first line went and came back.
  std::size_t failed = 0;  ///< Those that could not be opened, or were lost.
  std::map<std::string, std::size_t> failures;  ///< Why, and how many of them.
  bool server_ended = false;                    ///< By itself, before its time.
  std::chrono::nanoseconds opening{0};

  std::uint64_t messages = 0;  ///< Exchanged after all connections were open.
  std::chrono::nanoseconds exchanging{0};
  Histogram latencies;  ///< Of these messages.

  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_back = 0;   ///< Those that came back, wrong ones included.
  std::uint64_t bytes_wrong = 0;  ///< Those that differ from what was sent, or are too many.

  std::optional<std::size_t> memory_before;  ///< The server's, without a connection.
  std::optional<std::size_t> memory_idle;    ///< With all of them open and idle.

  std::size_t held() const { return wanted - failed; }
  std::uint64_t bytes_lost() const { return bytes_sent - bytes_back; }
  bool success() const { return failed == 0 && bytes_wrong == 0 && bytes_lost() == 0; }
};

/// "1,234,567".
std::string grouped(std::uint64_t number);

std::string table(const Results& results);

}  // namespace c10k
