// SPDX-License-Identifier: Apache-2.0
#include "timer_queue.hpp"

#include <algorithm>
#include <utility>

namespace tornado::detail {

TimerQueue::~TimerQueue() {
  for (Entry& entry : heap_) entry.node->place_ = TimerNode::not_queued;
}

void TimerQueue::add(TimerNode& node) {
  heap_.push_back({});
  sift_up(heap_.size() - 1, {node.when_, added_++, &node});
}

void TimerQueue::remove(TimerNode& node) noexcept {
  node.unlink();  // where it is due already
  if (node.place_ != TimerNode::not_queued) erase(node.place_);
}

void TimerQueue::collect_due(TimePoint now) {
  while (!heap_.empty() && heap_.front().when <= now) {
    TimerNode* node = heap_.front().node;
    erase(0);
    due_.push_back(*node);
  }
}

TimerNode* TimerQueue::pop_due() noexcept {
  auto* node = static_cast<TimerNode*>(due_.pop_front());
  if (node != nullptr) node->loop = nullptr;
  return node;
}

TimerNode* TimerQueue::pop_any() noexcept {
  if (!heap_.empty()) {
    due_.push_back(*heap_.back().node);
    erase(heap_.size() - 1);
  }
  return pop_due();
}

void TimerQueue::place(std::size_t index, const Entry& entry) noexcept {
  heap_[index] = entry;
  entry.node->place_ = index;
}

void TimerQueue::sift_up(std::size_t index, Entry entry) noexcept {
  while (index > 0) {
    const std::size_t parent = (index - 1) / 4;
    if (!entry.before(heap_[parent])) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, entry);
}

void TimerQueue::sift_down(std::size_t index, Entry entry) noexcept {
  for (;;) {
    const std::size_t first = 4 * index + 1;
    if (first >= heap_.size()) break;
    const std::size_t last = std::min(first + 4, heap_.size());
    std::size_t least = first;
    for (std::size_t child = first + 1; child < last; ++child) {
      if (heap_[child].before(heap_[least])) least = child;
    }
    if (!heap_[least].before(entry)) break;
    place(index, heap_[least]);
    index = least;
  }
  place(index, entry);
}

void TimerQueue::erase(std::size_t index) noexcept {
  heap_[index].node->place_ = TimerNode::not_queued;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (index < heap_.size()) {
    if (index > 0 && last.before(heap_[(index - 1) / 4])) {
      sift_up(index, last);
    } else {
      sift_down(index, last);
    }
  }
  // Memory follows the number of timeouts down again, with room to spare.
  if (heap_.capacity() > 1024 && heap_.size() < heap_.capacity() / 4) {
    heap_.shrink_to_fit();
  }
}

}  // namespace tornado::detail
