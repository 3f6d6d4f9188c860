// SPDX-License-Identifier: Apache-2.0
#include "tornado/taskgroup.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace tornado {
namespace {

std::string describe_all(const std::vector<std::exception_ptr>& errors) {
  std::string text = fmt::format("{} errors in a task group", errors.size());
  for (const auto& error : errors) text += fmt::format("; {}", log::describe(error));
  return text;
}

}  // namespace

ExceptionGroup::ExceptionGroup(std::vector<std::exception_ptr> errors)
    : std::runtime_error(describe_all(errors)),
      errors_(std::make_shared<const std::vector<std::exception_ptr>>(std::move(errors))) {}
ExceptionGroup::ExceptionGroup(const ExceptionGroup&) noexcept = default;
ExceptionGroup& ExceptionGroup::operator=(const ExceptionGroup&) noexcept = default;
ExceptionGroup::~ExceptionGroup() = default;

namespace detail {

/// One child, in the group's list; and what waits for it.
class TaskGroupCore::Child final : public Hook {
 public:
  Child(TaskGroupCore& owner, StateBase& child, Role is) noexcept
      : role(is), state((child.add_ref(), &child)), owner_(owner), wait_(*this) {}
  void start() { state->add_waiter(wait_); }

  const Role role;
  const Ref<StateBase> state;
  bool asked = false;  // to cancel

 private:
  class Wait final : public Node {
   public:
    explicit Wait(Child& child) noexcept
        : Node(node_type<&on_event, Kind::awaiter>), child_(child) {}

   private:
    static void on_event(Node* node, Event event) noexcept {
      if (event == Event::drop) return;
      const std::unique_ptr<Child> child(&static_cast<Wait*>(node)->child_);
      child->unlink();
      child->owner_.ended(*child->state, child->role);
    }
    Child& child_;
  };

  TaskGroupCore& owner_;
  Wait wait_;
};

TaskGroupCore::Scope::Scope(std::shared_ptr<TaskGroupCore> of) noexcept : core(std::move(of)) {}
// With children left: the frame is being destroyed where it was suspended.
TaskGroupCore::Scope::~Scope() { core->destroy_children(); }

TaskGroupCore::Beginning::Beginning(std::shared_ptr<TaskGroupCore> core, Role role)
    : core_(std::move(core)), role_(role), requests_(core_->requests(role)) {
  if (role == Role::child) core_->require_open();
  if (role == Role::body) core_->body_runs_ = true;
  ++core_->size_;
}

TaskGroupCore::Beginning::~Beginning() {
  if (core_) core_->one_less(role_);
}

void TaskGroupCore::Beginning::called(StateBase& state) {
  core_->add(state, role_, core_->requests(role_) != requests_);
  core_ = nullptr;
}

TaskGroupCore::TaskGroupCore() = default;
TaskGroupCore::~TaskGroupCore() = default;

void TaskGroupCore::destroy_children() noexcept {
  open_ = false;
  destroyed_ = true;
  std::vector<Suspension*> frames;
  std::vector<std::unique_ptr<Child>> children;
  children_.for_each([&](Child& child) {
    const std::size_t before = frames.size();
    if (child.state->origin() != nullptr && !child.state->origin()->collect_frames(frames)) {
      frames.resize(before);  // one of them runs now
    }
    children.emplace_back(&child);
  });
  destroy_frames(frames);
  for (auto& child : children) {
    const Ref<StateBase> state = child->state;
    child.reset();
    if (state->done()) continue;
    state->observed = false;  // nobody waits for those that run now
    state->cancel();
  }
  size_ = 0;
  body_runs_ = false;
  for (const auto& waiting : std::exchange(idle_, {})) {
    if (!waiting.first.done()) waiting.first.set_result();
  }
}

void TaskGroupCore::require_open() const {
  if (!open_) throw std::logic_error("TaskGroup::create_task: the group takes no more tasks");
}

void TaskGroupCore::add(StateBase& state, Role role, bool cancel) {
  if (destroyed_) {  // by the call of the child
    state.cancel();
    return;
  }
  state.observed = true;  // the group tells
  if (state.done()) return ended(state, role);
  auto* child = new Child(*this, state, role);
  children_.push_back(*child);
  child->start();
  if (!cancel) return;
  child->asked = true;
  state.cancel();
}

void TaskGroupCore::ended(const StateBase& state, Role role) noexcept {
  if (state.status() == Status::error) {
    // One child's error may come out of others that awaited it.
    if (std::find(errors_.begin(), errors_.end(), state.error) == errors_.end()) {
      errors_.push_back(state.error);
    }
    cancel_children(true, false);
  } else if (state.status() == Status::cancelled && role == Role::body && for_body_ == 0) {
    body_cancelled_ = true;  // by somebody else: by a child that it awaited, for one
    cancel_children(true, false);
  }
  one_less(role);
}

void TaskGroupCore::one_less(Role role) noexcept {
  if (destroyed_) return;
  --size_;
  if (role == Role::body) body_runs_ = false;
  for (auto& [future, but_body] : idle_) {
    if (idle(but_body) && !future.done()) future.set_result();
  }
  std::erase_if(idle_, [](const auto& each) { return each.first.done(); });
}

void TaskGroupCore::cancel_children(bool body_too, bool again) noexcept {
  open_ = false;
  ++for_children_;
  if (body_too) ++for_body_;
  std::vector<Ref<StateBase>> states;
  children_.for_each([&](Child& child) {
    if (!body_too && child.role == Role::body) return;
    if (!std::exchange(child.asked, true) || again) states.push_back(child.state);
  });
  for (const auto& state : states) state->cancel();
}

Future<void> TaskGroupCore::wait_idle(bool but_body) {
  Future<void> future;
  if (idle(but_body)) {
    future.set_result();
  } else {
    idle_.emplace_back(future, but_body);
  }
  return future;
}

bool TaskGroupCore::idle(bool but_body) const noexcept {
  return size_ == 0 || (but_body && body_runs_ && size_ == 1);
}

Future<void> TaskGroupCore::join(std::shared_ptr<TaskGroupCore> core) {
  bool cancelled = false;
  while (core->size_ > 0) {
    try {
      Future<void> idle = core->wait_idle(false);
      co_await std::move(idle);
    } catch (const CancelledError&) {
      cancelled = true;
      core->cancel_children();
    }
  }
  core->open_ = false;
  if (core->errors_.size() == 1) std::rethrow_exception(core->errors_.front());
  if (core->errors_.size() > 1) throw ExceptionGroup(std::move(core->errors_));
  if (cancelled || core->body_cancelled_) throw CancelledError();
}

Future<void> TaskGroupCore::drain(std::shared_ptr<TaskGroupCore> core, Deadline deadline) {
  core->open_ = false;
  Future<void> idle = core->wait_idle(true);
  try {
    DeadlineAwaiter wait(Access::state(idle), deadline);
    const bool in_time = co_await wait;
    if (in_time) {
      idle.result();  // throws when it was cancelled
      co_return;
    }
  } catch (const CancelledError&) {
    core->cancel_children(false, false);
    throw;
  }
  core->cancel_children(false);
  co_await std::move(idle);
}

}  // namespace detail

TaskGroup::TaskGroup(std::shared_ptr<detail::TaskGroupCore> core) noexcept
    : core_(std::move(core)) {}

void TaskGroup::cancel() noexcept { core_->cancel_children(); }

Future<void> TaskGroup::drain(Deadline deadline) {
  return detail::TaskGroupCore::drain(core_, deadline);
}

}  // namespace tornado
