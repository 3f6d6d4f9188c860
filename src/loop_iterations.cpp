// SPDX-License-Identifier: Apache-2.0
//
// Of a loop: its iterations, each of which runs the callbacks that were there.
#include "loop_core.hpp"

#include <chrono>
#include <cstdint>
#include <mutex>
#include <utility>

namespace tornado::detail {
namespace {

// After so many turns that were iterations and nothing else, several are run before the reactor is
// asked again: asking costs as much as ten callbacks, each adding the next. Not sooner, since
// programs let some iterations pass for what is on its way to arrive.
constexpr int alone_before_several = 64;
// So many callbacks, and no more of them when the clock says that it took so long.
constexpr std::uint64_t callbacks_per_poll = 64;
constexpr std::uint64_t callbacks_per_look = 16;
constexpr std::chrono::microseconds time_per_poll(20);

}  // namespace

void LoopCore::next_iteration(Node& node) noexcept {
  added_.push_back(node);
  post_iteration();
}

void LoopCore::post_iteration() noexcept {
  if (closed_ || std::exchange(iteration_posted_, true)) return;
  post_handler([this] {
    iteration_posted_ = false;
    run_iterations();
  });
}

bool LoopCore::post(Node& node) noexcept {
  // Not where the application runs the context: in its own handlers this loop is not running, and
  // what it adds there must not be overtaken, nor overtake.
  if (running() == this && !adapted_ && !closed_) {
    next_iteration(node);
    return true;
  }
  {
    const std::lock_guard lock(mutex_);
    if (open_) {
      posted_.push_back(node);
      if (!std::exchange(post_pending_, true)) {
        has_posted_ = true;
        post_handler([this] { run_iterations(); });
      }
      return true;
    }
  }
  node.handle(Node::Event::drop);
  return false;
}

void LoopCore::run_iterations() noexcept {
  const Turn turn(*this);
  if (turns_ != last_iteration_ + 1) iterations_alone_ = 0;
  last_iteration_ = turns_;
  if (adapted_ || depth_ > 1) return run_iteration();  // the program's own handlers take turns
  if (iterations_alone_ >= alone_before_several) return run_several_iterations();
  ++iterations_alone_;
  run_iteration();
}

// The handler that was posted for the first callback added meanwhile runs those that are left.
void LoopCore::run_several_iterations() noexcept {
  const auto begin = IOLoop::Clock::now();
  const std::uint64_t end = callbacks_run_ + callbacks_per_poll;
  std::uint64_t look = callbacks_run_;  // at the clock; also after the first, which may be long
  for (;;) {
    run_iteration();
    settle();
    if (callbacks_run_ > look) {
      look += callbacks_per_look;
      if (IOLoop::Clock::now() - begin > time_per_poll) {
        iterations_alone_ = 0;
        break;
      }
    }
    if (callbacks_run_ >= end || added_.empty() || !arming_.empty() || stop_) break;
    last_iteration_ = ++turns_;
  }
}

// Runs what was there when it began; what is added meanwhile waits for the next one, so that
// callbacks which add callbacks cannot keep the reactor from being asked.
void LoopCore::run_iteration() noexcept {
  List<Node> batch;
  if (has_posted_) {
    const std::lock_guard lock(mutex_);
    batch.splice(posted_);
    has_posted_ = false;
    post_pending_ = false;
  }
  batch.splice(added_);
  while (Node* node = batch.pop_front()) run_node(*node);
}

}  // namespace tornado::detail
