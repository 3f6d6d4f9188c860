// SPDX-License-Identifier: Apache-2.0
#include "tornado/gen.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <stdexcept>
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
    : TimerNode(node_type<&on_time, Kind::job>, when), owner(awaiter) {}

DeadlineAwaiter::DeadlineAwaiter(StateBase* target, Deadline deadline) noexcept
    : target_(target), timer_(*this, deadline.when()) {}

void DeadlineAwaiter::on_time(Node* node, Event event) noexcept {
  if (event == Event::run) static_cast<Timer*>(node)->owner.timed_out();
}

void DeadlineAwaiter::throw_timeout() const {
  if (asked_target()) throw CancelledError();
  throw TimeoutError("Timeout");
}

class ManyAwaiter::Child final : public Node {
 public:
  Child() noexcept : Node(node_type<&child_done, Kind::awaiter>) {}
  ManyAwaiter* owner = nullptr;  // null when it is waited for no more
  std::size_t place = 0;
  Ref<StateBase> state;
};

ManyAwaiter::ManyAwaiter(std::vector<Ref<StateBase>> children, Until until)
    : children_(std::move(children)), any_(until == Until::any), all_(State<void>::create()) {
  for (const auto& child : children_) pending_ += !child->done();
  finished_ = any_ ? pending_ < children_.size() : pending_ == 0;
  while (finished_ && first_ < children_.size() && !children_[first_]->done()) ++first_;
}

ManyAwaiter::~ManyAwaiter() {
  all_->set_origin(nullptr);
  all_->release();
}

void ManyAwaiter::stop_waiting() noexcept {
  waits_.clear();
  children_.clear();
}

void ManyAwaiter::start() {
  waits_ = std::vector<Child>(pending_);
  all_->set_origin(this);
  std::size_t next = 0;
  for (std::size_t place = 0; place < children_.size(); ++place) {
    if (children_[place]->done()) continue;
    Child& child = waits_[next++];
    child.owner = this;
    child.place = place;
    child.state = children_[place];
    child.state->add_waiter(child);
  }
}

void ManyAwaiter::child_done(Node* node, Event event) noexcept {
  if (event == Event::drop) return;
  auto* child = static_cast<Child*>(node);
  ManyAwaiter& self = *std::exchange(child->owner, nullptr);
  --self.pending_;
  if (self.all_->done()) return;
  if (self.pending_ == 0 || (self.any_ && !self.cancel_requested_)) {
    self.first_ = child->place;
    self.all_->complete(Status::value);
  }
}

bool ManyAwaiter::complete() const noexcept {
  std::size_t pending = 0;
  for (const Child& child : waits_) pending += !child.state->done();
  return any_ ? pending < waits_.size() : pending == 0;
}

Origin::Answer ManyAwaiter::cancel_requested(StateBase& all) noexcept {
  if (!cancel_requested_ && complete()) {  // and this will be told so in this turn
    all.cancel_unmet = true;
    return Answer::later;
  }
  cancel_requested_ = true;
  // None waits any more, so that one which stands here twice does not count as another's.
  for (Child& child : waits_) {
    if (child.owner != nullptr && !child.state->done()) child.unlink();
  }
  for (Child& child : waits_) {
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

bool ManyAwaiter::collect_frames(std::vector<Suspension*>& frames) const {
  bool none_runs = true;
  for (const Child& child : waits_) {
    if (child.owner != nullptr) none_runs &= collect_frames_behind(*child.state, frames);
  }
  return none_runs;
}

bool is_awaited(const StateBase& state) noexcept { return count_awaiters(state) > 0; }

std::string ManyAwaiter::describe() const {
  std::string text = any_ ? "the first of" : "all of";
  const char* separator = " ";
  for (const Child& child : waits_) {
    if (child.owner == nullptr) continue;
    const Origin* origin = child.state->origin();
    text += fmt::format("{}{}", std::exchange(separator, ", "),
                        origin != nullptr ? origin->describe() : "a Future");
  }
  return text;
}

AllAwaiter::AllAwaiter(std::vector<Ref<StateBase>> children, gen::Quiet quiet)
    : ManyAwaiter(std::move(children), Until::all), quiet_(quiet) {}
AllAwaiter::~AllAwaiter() = default;

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
  if (first != nullptr) first->require_value();
  stop_waiting();  // so that who takes the values may be the last to hold them
}

AnyAwaiter::AnyAwaiter(std::vector<Ref<StateBase>> children)
    : ManyAwaiter(std::move(children), Until::any) {}
AnyAwaiter::~AnyAwaiter() = default;

std::size_t AnyAwaiter::await_resume() const {
  check_cancelled();
  if (cancel_requested_) throw CancelledError();
  return first_;
}

namespace {

Future<std::size_t> wait_for_first(std::vector<Ref<StateBase>> children) {
  AnyAwaiter any(std::move(children));
  co_return co_await any;
}

}  // namespace

Future<std::size_t> first_done(std::vector<Ref<StateBase>> children) {
  if (children.empty())
    throw std::invalid_argument("gen::when_any: there is no Future to wait for");
  return wait_for_first(std::move(children));
}

}  // namespace detail
}  // namespace tornado
