// SPDX-License-Identifier: Apache-2.0
#include "tornado/taskgroup.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

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
  Child(TaskGroupCore& owner, StateBase& child, Role role) noexcept
      : is_body(role == Role::body),
        state((child.add_ref(), &child)),
        owner_(owner),
        wait_(*this) {}
  void start() { state->add_waiter(wait_); }

  const bool is_body;
  const Ref<StateBase> state;

 private:
  class Wait final : public Node {
   public:
    explicit Wait(Child& child) noexcept : Node(&on_event, Kind::awaiter), child_(child) {}

   private:
    static void on_event(Node* node, Event event) noexcept {
      Child& child = static_cast<Wait*>(node)->child_;
      if (event == Event::run) child.owner_.ended(child);
    }
    Child& child_;
  };

  TaskGroupCore& owner_;
  Wait wait_;
};

TaskGroupCore::Scope::Scope(std::shared_ptr<TaskGroupCore> of) noexcept : core(std::move(of)) {}
// With children left: the frame is being destroyed where it was suspended.
TaskGroupCore::Scope::~Scope() { core->destroy_children(); }

TaskGroupCore::TaskGroupCore() = default;
TaskGroupCore::~TaskGroupCore() = default;

void TaskGroupCore::destroy_children() noexcept {
  open_ = false;
  std::vector<Suspension*> frames;
  children_.for_each([&frames](const Child& child) {
    const std::size_t before = frames.size();
    if (child.state->origin() != nullptr && !child.state->origin()->collect_frames(frames)) {
      frames.resize(before);  // one of them runs now
    }
  });
  destroy_frames(frames);
  while (Child* child = children_.pop_front()) delete child;
  size_ = 0;
  body_runs_ = false;
}

void TaskGroupCore::require_open() const {
  if (!open_) throw std::logic_error("TaskGroup::create_task: the group takes no more tasks");
}

void TaskGroupCore::add(StateBase& state, Role role) {
  auto* child = new Child(*this, state, role);
  children_.push_back(*child);
  ++size_;
  if (role == Role::body) body_runs_ = true;
  state.observed = true;  // the group tells
  child->start();
}

void TaskGroupCore::ended(Child& child) noexcept {
  const std::unique_ptr<Child> ended(&child);
  ended->unlink();
  --size_;
  if (ended->is_body) body_runs_ = false;
  if (ended->state->status() == Status::error) {
    errors_.push_back(ended->state->error);
    cancel_children();
  }
  for (auto& [future, but_body] : idle_) {
    if (idle(but_body) && !future.done()) future.set_result();
  }
  std::erase_if(idle_, [](const auto& each) { return each.first.done(); });
}

void TaskGroupCore::cancel_children(bool body_too) noexcept {
  open_ = false;
  std::vector<Ref<StateBase>> states;
  children_.for_each([&states, body_too](const Child& child) {
    if (body_too || !child.is_body) states.push_back(child.state);
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
  if (cancelled) throw CancelledError();
}

Future<void> TaskGroupCore::drain(std::shared_ptr<TaskGroupCore> core, Deadline deadline) {
  core->open_ = false;
  Future<void> idle = core->wait_idle(true);
  try {
    DeadlineAwaiter wait(Access::state(idle), deadline);
    const bool in_time = co_await wait;
    if (in_time) co_return;
  } catch (const CancelledError&) {
    core->cancel_children(false);
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
