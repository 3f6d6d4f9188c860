// SPDX-License-Identifier: Apache-2.0
#include "tornado/gen.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <utility>

namespace tornado {
namespace gen {

Future<void> sleep(Deadline duration) {
  detail::DeadlineAwaiter wait(nullptr, duration);
  co_await wait;
}

Future<void> convert_yielded(Moment) { co_await moment; }

}  // namespace gen

namespace detail {

DeadlineAwaiter::Timer::Timer(DeadlineAwaiter& awaiter, TimePoint when) noexcept
    : TimerNode(&on_time, when), owner(awaiter) {}

DeadlineAwaiter::DeadlineAwaiter(StateBase* target, Deadline deadline) noexcept
    : target_(target), timer_(*this, deadline.when()) {}

void DeadlineAwaiter::on_time(Node* node, Event event) noexcept {
  if (event == Event::run) static_cast<Timer*>(node)->owner.timed_out();
}

void throw_timeout() { throw TimeoutError("Timeout"); }

AllAwaiter::Child::Child() noexcept : Node(&child_done, Kind::awaiter) {}

AllAwaiter::AllAwaiter(std::vector<Ref<StateBase>> children, gen::Quiet quiet)
    : children_(std::move(children)), quiet_(quiet), all_(State<void>::create()) {
  for (const auto& child : children_) pending_ += !child->done();
}

AllAwaiter::~AllAwaiter() {
  all_->origin = nullptr;
  all_->release();
}

void AllAwaiter::start() {
  waits_count_ = pending_;
  waits_ = std::make_unique<Child[]>(waits_count_);
  all_->origin = this;
  std::size_t next = 0;
  for (const auto& state : children_) {
    if (state->done()) continue;
    Child& child = waits_[next++];
    child.owner = this;
    child.state = state;
    state->add_waiter(child);
  }
}

void AllAwaiter::child_done(Node* node, Event event) noexcept {
  if (event == Event::drop) return;
  AllAwaiter& self = *std::exchange(static_cast<Child*>(node)->owner, nullptr);
  if (--self.pending_ == 0) self.all_->complete(Status::value);
}

// Asks each child for which nobody else waits, and goes on waiting until those have ended.
Origin::Answer AllAwaiter::cancel_requested(StateBase&) noexcept {
  cancel_requested_ = true;
  // None waits any more, so that one which stands here twice does not count as another's.
  for (std::size_t i = 0; i < waits_count_; ++i) {
    Child& child = waits_[i];
    if (child.owner != nullptr && !child.state->done()) child.unlink();
  }
  for (std::size_t i = 0; i < waits_count_; ++i) {
    Child& child = waits_[i];
    if (child.owner == nullptr || child.linked()) continue;
    if (child.state->done() || count_awaiters(*child.state) > 0) {
      child.owner = nullptr;
      --pending_;
    } else {
      child.state->waiters.push_back(child);
      child.state->cancel();
    }
  }
  return pending_ == 0 ? Answer::ended : Answer::later;
}

bool AllAwaiter::collect_frames(std::vector<RunnerBase*>& frames) const {
  bool none_runs = true;
  for (std::size_t i = 0; i < waits_count_; ++i) {
    const Child& child = waits_[i];
    if (child.owner != nullptr) none_runs &= collect_frames_behind(*child.state, frames);
  }
  return none_runs;
}

void AllAwaiter::await_resume() {
  check_cancelled();
  StateBase* first = nullptr;
  for (const auto& child : children_) {
    if (child->status() == Status::value || child->status() == Status::pending) continue;
    if (first == nullptr && !cancel_requested_) {
      first = child.get();
    } else if (child->status() == Status::error && child.get() != first &&
               !std::exchange(child->observed, true) &&
               (quiet_ == nullptr || !quiet_(child->error))) {
      log::log_exception(log::app_log, "Multiple exceptions in yield list", child->error);
    }
  }
  if (cancel_requested_) throw CancelledError();
  if (first != nullptr) first->throw_failure();
}

}  // namespace detail
}  // namespace tornado
