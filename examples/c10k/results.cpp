// SPDX-License-Identifier: Apache-2.0
#include "results.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string_view>
#include <utility>

namespace c10k {
namespace {

// Six significant bits: 0 to 63 have buckets of their own, 64 to 127 share 32, and so on.
constexpr int exact_bits = 6;
constexpr std::size_t steps = 1 << (exact_bits - 1);

std::size_t bucket_of(std::uint64_t value) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - exact_bits);
  return static_cast<std::size_t>(shift) * steps + static_cast<std::size_t>(value >> shift);
}

// The largest value that falls into it.
std::uint64_t end_of(std::size_t bucket) {
  if (bucket < 2 * steps) return bucket;
  const std::size_t shift = bucket / steps - 1;
  const std::uint64_t first = bucket % steps + steps;
  return ((first + 1) << shift) - 1;
}

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string milliseconds(std::chrono::nanoseconds duration) {
  return fmt::format("{:.2f} ms", 1000 * seconds(duration));
}

std::string mebibytes(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024 * 1024));
}

class Table {
 public:
  void heading(std::string_view text) { text_ += fmt::format("{}\n", text); }
  void row(std::string_view name, std::string_view value, std::string_view remark = {}) {
    text_ += fmt::format("  {:<22}{:>14}", name, value);
    if (!remark.empty()) text_ += fmt::format("   {}", remark);
    text_ += '\n';
  }
  std::string text() && { return std::move(text_); }

 private:
  std::string text_;
};

void add_memory(Table& table, const Results& results) {
  table.heading("Server memory");
  if (!results.memory_before || !results.memory_idle || results.opened == 0) {
    table.row("per idle connection", "unknown");
    return;
  }
  const double grown =
      static_cast<double>(*results.memory_idle) - static_cast<double>(*results.memory_before);
  table.row("per idle connection",
            fmt::format("{:.2f} KiB", grown / 1024 / static_cast<double>(results.opened)),
            fmt::format("{} with none, {} with all of them", mebibytes(*results.memory_before),
                        mebibytes(*results.memory_idle)));
}

}  // namespace

Histogram::Histogram() : counts_(bucket_of(~std::uint64_t{0}) + 1) {}

void Histogram::add(std::chrono::nanoseconds duration) {
  const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration.count()));
  ++counts_[bucket_of(value)];
  ++total_;
  max_ = std::max(max_, value);
}

std::chrono::nanoseconds Histogram::quantile(double share) const {
  const auto wanted = share * static_cast<double>(total_);
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    seen += counts_[bucket];
    if (seen > 0 && static_cast<double>(seen) >= wanted) {
      return std::chrono::nanoseconds(std::min(end_of(bucket), max_));
    }
  }
  return std::chrono::nanoseconds(0);
}

std::string grouped(std::uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (std::size_t i = digits.size(); i > 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

std::string table(const Results& results) {
  Table table;
  table.heading("Connections");
  table.row("opened", grouped(results.opened),
            fmt::format("in {:.1f} s", seconds(results.opening)));
  table.row("held to the end", grouped(results.held()));
  table.row("failed", grouped(results.failed));
  for (const auto& [why, count] : results.failures) table.row("", grouped(count), why);
  if (results.server_ended) table.row("", "", "the server has ended");

  table.heading("Messages");
  table.row("exchanged", grouped(results.messages),
            fmt::format("in {:.1f} s", seconds(results.exchanging)));
  const double rate = results.messages == 0
                          ? 0
                          : static_cast<double>(results.messages) / seconds(results.exchanging);
  table.row("per second", grouped(static_cast<std::uint64_t>(rate)));

  table.heading("Latency");
  table.row("p50", milliseconds(results.latencies.quantile(0.5)));
  table.row("p99", milliseconds(results.latencies.quantile(0.99)));
  table.row("max", milliseconds(results.latencies.max()));

  add_memory(table, results);

  table.heading("Bytes");
  table.row("sent", grouped(results.bytes_sent), "every one of them compared with its echo");
  table.row("wrong", grouped(results.bytes_wrong));
  table.row("lost", grouped(results.bytes_lost()));
  return std::move(table).text();
}

}  // namespace c10k
