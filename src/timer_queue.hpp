// SPDX-License-Identifier: Apache-2.0
//
// The timeouts of one loop, ordered by (deadline, order of adding): a heap whose entries can be
// taken out at any place. Asio's own heap runs equal deadlines out of order and cannot recall a
// timer whose handler is queued.
#pragma once

#include "tornado/detail/timer.hpp"

#include <cstdint>
#include <vector>

namespace tornado::detail {

class TimerQueue {
 public:
  using TimePoint = TimerNode::TimePoint;

  ~TimerQueue();

  bool empty() const noexcept { return heap_.empty() && due_.empty(); }
  std::size_t size() const noexcept { return heap_.size(); }
  /// The earliest deadline; the queue must not be empty.
  TimePoint next() const noexcept { return heap_.front().when; }

  void add(TimerNode& node);
  void remove(TimerNode& node) noexcept;
  /// Moves what is due at `now` to the list of those to run. They can still be removed.
  void collect_due(TimePoint now);
  TimerNode* pop_due() noexcept;
  /// Any entry, taken out; null when there is none.
  TimerNode* pop_any() noexcept;

 private:
  struct Entry {
    TimePoint when;
    std::uint64_t number;
    TimerNode* node;
    bool before(const Entry& other) const noexcept {
      return when != other.when ? when < other.when : number < other.number;
    }
  };

  void place(std::size_t index, const Entry& entry) noexcept;
  void sift_up(std::size_t index, Entry entry) noexcept;
  void sift_down(std::size_t index, Entry entry) noexcept;
  void erase(std::size_t index) noexcept;

  std::vector<Entry> heap_;  // four children to a node: fewer cache lines than two
  List<Node> due_;
  std::uint64_t added_ = 0;
};

}  // namespace tornado::detail
