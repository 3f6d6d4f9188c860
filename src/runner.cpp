// SPDX-License-Identifier: Apache-2.0
#include "tornado/detail/runner.hpp"

#include "loop_core.hpp"
#include "tornado/concurrent.hpp"

#include <algorithm>
#include <utility>

namespace tornado::detail {
int count_awaiters(const StateBase& state) noexcept {
  int awaiters = 0;
  state.waiters.for_each(
      [&awaiters](const Node& node) { awaiters += node.kind() == Node::Kind::awaiter; });
  return awaiters;
}

bool only_awaiter(const StateBase& state) noexcept { return count_awaiters(state) == 1; }

void RunnerBase::store_exception(StateBase& state) noexcept {
  try {
    throw;
  } catch (const CancelledError&) {
    outcome_ = Status::cancelled;
  } catch (...) {
    state.error = std::current_exception();
    outcome_ = Status::error;
  }
}

// A request that cannot be met now, because the coroutine runs or its wait is over, is met at its
// next suspension.
Origin::Answer RunnerBase::cancel_requested(StateBase&) noexcept {
  if (waiting_ == nullptr || !waiting_->cancel()) cancel_requested_ = true;
  return Answer::later;
}

void RunnerBase::destroy_frame() noexcept {
  waiting_ = nullptr;
  void* frame = std::exchange(frame_, nullptr);
  if (frame == nullptr) fatal("a running coroutine's frame was to be destroyed");
  std::coroutine_handle<>::from_address(frame).destroy();
}

void RunnerBase::destroy_with_awaited() noexcept {
  std::vector<RunnerBase*> frames;
  if (collect_frames(frames)) destroy_frames(frames);
}

bool collect_frames_behind(const StateBase& state, std::vector<RunnerBase*>& frames) {
  return state.origin == nullptr || !only_awaiter(state) || state.origin->collect_frames(frames);
}

bool RunnerBase::collect_frames(std::vector<RunnerBase*>& frames) const {
  if (!suspended()) return false;
  frames.push_back(const_cast<RunnerBase*>(this));
  return awaited() == nullptr || collect_frames_behind(*awaited(), frames);
}

void destroy_coroutine(const StateBase& state) noexcept {
  std::vector<RunnerBase*> frames;
  if (state.origin != nullptr && state.origin->collect_frames(frames)) destroy_frames(frames);
}

void destroy_frames(std::vector<RunnerBase*>& frames) noexcept {
  std::sort(frames.begin(), frames.end(),
            [](const RunnerBase* a, const RunnerBase* b) { return a->number() < b->number(); });
  // One at a time: a destructor may end others (a TCPServer's does), or start some.
  List<RunnerBase> ordered;
  for (RunnerBase* frame : frames) {
    frame->unlink();
    ordered.push_back(*frame);
  }
  while (!ordered.empty()) ordered.back().destroy_frame();
}

StateBase* RunnerBase::awaited() const noexcept {
  return waiting_ != nullptr ? waiting_->target_ : nullptr;
}

void RunnerBase::broken_frame() noexcept {
  fatal(
      "this coroutine's frame is laid out wrongly: g++ 12.0 to 12.2 does so (GCC PR106188) when a "
      "function without local variables uses co_await in the condition of an if, while, do or "
      "switch. Give the awaited value a name first: `const bool ok = co_await f(); if (ok) ...`");
}

void Awaiter::prepare(RunnerBase& runner) {
  runner_ = &runner;
  if (runner.loop_ == nullptr) {
    runner.loop_ = &LoopCore::current();
    runner.loop_->add_frame(runner);
  }
  loop = runner.loop_;
}

void Awaiter::suspended(void* frame) noexcept {
  runner_->waiting_ = this;
  runner_->stopped(frame);
  if (std::exchange(runner_->cancel_requested_, false) && !cancel()) {
    runner_->cancel_requested_ = true;
  }
}

void Awaiter::queue_for_iteration() { loop->next_iteration(*this); }

void Awaiter::timed_out() noexcept {
  timed_out_ = true;
  unlink();
  loop->schedule(*this);
}

bool Awaiter::cancel() noexcept {
  if (cancelled_) return true;
  if (timed_out_ || (target_ != nullptr && target_->done())) return false;
  if (target_ != nullptr && only_awaiter(*target_)) {
    asked_target_ = true;
    return target_->cancel();
  }
  cancelled_ = true;
  if (timer_ != nullptr) timer_->stop();
  unlink();
  loop->schedule(*this);
  return true;
}

void Awaiter::resume(Node* node, Event event) noexcept {
  auto* self = static_cast<Awaiter*>(node);
  RunnerBase& runner = *self->runner_;
  if (event == Event::drop) {
    // By a loop that closes: the coroutine began when the others were destroyed already. Or by the
    // awaited Future, which goes with a frame that is being destroyed.
    if (runner.suspended()) runner.destroy_frame();
    return;
  }
  if (self->asked_target_ && self->target_->cancel_unmet) runner.cancel_requested_ = true;
  runner.go_on();
}

void Awaiter::check_cancelled_quietly() const {
  check_cancelled();
  if (asked_target_ && target_->status() == Status::cancelled) throw_cancelled();
}

void Awaiter::throw_cancelled() { throw CancelledError(); }

}  // namespace tornado::detail
