// SPDX-License-Identifier: Apache-2.0
#include "tornado/detail/runner.hpp"

#include "loop_core.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
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
    flags_ |= cancelled;
  } catch (...) {
    state.error = std::current_exception();
    flags_ |= failed;
  }
}

// When it has run: its own context is put aside, and the one before is current again.
void RunnerBase::leave_context() noexcept {
  if ((flags_ & holds_context) == 0) {
    Context::share(context_);
    flags_ |= holds_context;
  }
  enter_context();
  Context::forget_before(context_);
}

void RunnerBase::enter_context() noexcept {
  if (context_ != per_thread().context) context_ = Context::make_current(context_);
}

void RunnerBase::begin_to_suspend() noexcept {
  ::new (static_cast<void*>(&suspension_)) Suspension(*this);
  flags_ |= suspends;
  if (state_ != nullptr) state_->set_origin(&suspension_);
}

void RunnerBase::finish_with_more(StateBase& state) noexcept {
  leave_context();
  if ((flags_ & suspends) != 0) state.cancel_unmet = suspension_.cancel_wanted;
  if ((flags_ & failed) != 0) {
    state.complete(Status::error);
  } else {
    state.complete((flags_ & cancelled) != 0 ? Status::cancelled : Status::value);
  }
}

void RunnerBase::clean_up() noexcept {
  if (state_ != nullptr) {
    if (!state_->done()) state_->abandon();
    if ((flags_ & state_is_apart) != 0) state_->release();
  }
  if ((flags_ & suspends) != 0) suspension_.~Suspension();
  if ((flags_ & holds_context) != 0) Context::release(context_);
}

bool Suspension::called_after(const Suspension& other) const noexcept {
  const std::uint64_t own = runner_.called_at_;
  const std::uint64_t others = other.runner_.called_at_;
  return own != others ? own > others : number_ < other.number_;
}

void Suspension::stop(void* frame) noexcept {
  frame_ = frame;
  runner_.leave_context();
}

void Suspension::go_on() noexcept {
  waiting_ = nullptr;
  runner_.enter_context();
  std::coroutine_handle<>::from_address(std::exchange(frame_, nullptr)).resume();
}

// A request that cannot be met now, because the coroutine runs or its wait is over, is met at its
// next suspension.
Origin::Answer Suspension::cancel_requested(StateBase&) noexcept {
  for (Suspension* next = this; next != nullptr;) next = next->ask();
  return Answer::later;
}

Suspension* Suspension::ask() noexcept {
  Suspension* next = nullptr;
  if (waiting_ == nullptr || !waiting_->ask(next)) cancel_wanted = true;
  return next;
}

void Suspension::destroy_frame() noexcept {
  waiting_ = nullptr;
  void* frame = std::exchange(frame_, nullptr);
  if (frame == nullptr) fatal("a running coroutine's frame was to be destroyed");
  std::coroutine_handle<>::from_address(frame).destroy();
}

void Suspension::destroy_with_awaited() noexcept {
  std::vector<Suspension*> frames;
  if (collect_frames(frames)) destroy_frames(frames);
}

bool collect_frames_behind(const StateBase& state, std::vector<Suspension*>& frames) {
  return state.origin() == nullptr || !only_awaiter(state) ||
         state.origin()->collect_frames(frames);
}

bool Suspension::collect_frames(std::vector<Suspension*>& frames) const {
  for (const Suspension* frame = this;;) {
    if (!frame->suspended()) return false;
    frames.push_back(const_cast<Suspension*>(frame));
    const StateBase* target = frame->awaited();
    if (target == nullptr || target->origin() == nullptr || !only_awaiter(*target)) return true;
    frame = dynamic_cast<const Suspension*>(target->origin());
    if (frame == nullptr) return target->origin()->collect_frames(frames);
  }
}

void destroy_coroutine(const StateBase& state) noexcept {
  std::vector<Suspension*> frames;
  if (state.origin() != nullptr && state.origin()->collect_frames(frames)) destroy_frames(frames);
}

void destroy_frames(std::vector<Suspension*>& frames) noexcept {
  std::sort(frames.begin(), frames.end(),
            [](const Suspension* a, const Suspension* b) { return b->called_after(*a); });
  // One at a time: a destructor may end others (a TCPServer's does), or start some.
  List<Suspension> ordered;
  for (Suspension* frame : frames) {
    frame->unlink();
    ordered.push_back(*frame);
  }
  while (!ordered.empty()) ordered.back().destroy_frame();
}

StateBase* Suspension::awaited() const noexcept {
  return waiting_ != nullptr ? waiting_->target_ : nullptr;
}

const Suspension* Awaiter::waiter_of(const Node& node) noexcept {
  // By its function: a program and a shared library have each a Type of their own.
  const bool is_awaiter = node.type().function == &Awaiter::resume;
  return is_awaiter ? static_cast<const Awaiter&>(node).waiter_ : nullptr;
}

std::string Suspension::describe() const { return fmt::format("coroutine {}", number_); }

std::string Suspension::describe_wait() const {
  if (waiting_ == nullptr) return "whoever asks for its next value";
  std::string text;
  if (const StateBase* target = waiting_->target_) {
    if (target->done()) return "its turn";
    text = target->origin() != nullptr ? target->origin()->describe() : "a Future";
  }
  if (waiting_->has_timer_) {
    const auto when = waiting_->timer().when();
    const std::chrono::duration<double> left = when - IOLoop::Clock::now();
    if (when == TimerNode::TimePoint::max()) {
      text += text.empty() ? "ever" : "";
    } else {
      text += fmt::format("{}a timeout in {:.3f} s", text.empty() ? "" : ", or ",
                          std::max(0.0, left.count()));
    }
  }
  return text.empty() ? "the next iteration" : text;
}

void RunnerBase::broken_frame() noexcept {
  fatal(
      "this coroutine's frame is laid out wrongly: g++ 12.0 to 12.2 does so (GCC PR106188) when a "
      "function without local variables uses co_await in the condition of an if, while, do or "
      "switch. Give the awaited value a name first: `const bool ok = co_await f(); if (ok) ...`");
}

void Awaiter::prepare(RunnerBase& runner, const Where& where) {
  Suspension& waiter = runner.suspension();
  waiter.where = where;
  waiter_ = &waiter;
  if (waiter.loop_ == nullptr) {
    waiter.loop_ = &LoopCore::current();
    waiter.loop_->add_frame(waiter);
  }
  loop = waiter.loop_;
}

void Awaiter::suspended(void* frame) noexcept {
  waiter_->waiting_ = this;
  waiter_->stop(frame);
  if (std::exchange(waiter_->cancel_wanted, false) && !cancel()) waiter_->cancel_wanted = true;
}

void Awaiter::queue_for_iteration() { loop->next_iteration(*this); }

TimerNode& Awaiter::timer() noexcept { return static_cast<DeadlineAwaiter*>(this)->timer_; }

void Awaiter::timed_out() noexcept {
  timed_out_ = true;
  unlink();
  loop->schedule(*this);
}

bool Awaiter::cancel() noexcept {
  Suspension* next = nullptr;
  if (!ask(next)) return false;
  while (next != nullptr) next = next->ask();
  return true;
}

bool Awaiter::ask(Suspension*& next) noexcept {
  if (cancelled_) return true;
  if (timed_out_ || (target_ != nullptr && target_->done())) return false;
  if (target_ != nullptr && only_awaiter(*target_)) {
    asked_target_ = true;
    next = dynamic_cast<Suspension*>(target_->origin());
    if (next == nullptr) target_->cancel();
    return true;
  }
  cancelled_ = true;
  if (has_timer_) timer().stop();
  unlink();
  loop->schedule(*this);
  return true;
}

void Awaiter::resume(Node* node, Event event) noexcept {
  auto* self = static_cast<Awaiter*>(node);
  Suspension& waiter = *self->waiter_;
  if (event == Event::drop) {
    // By a loop that closes: the coroutine began when the others were destroyed already. Or by the
    // awaited Future, which goes with a frame that is being destroyed.
    if (waiter.suspended()) waiter.destroy_frame();
    return;
  }
  if (self->asked_target_ && self->target_->cancel_unmet) waiter.cancel_wanted = true;
  waiter.go_on();
}

void Awaiter::check_cancelled_quietly() const {
  check_cancelled();
  if (asked_target_ && target_->status() == Status::cancelled) throw_cancelled();
}

void Awaiter::throw_cancelled() { throw CancelledError(); }

}  // namespace tornado::detail
