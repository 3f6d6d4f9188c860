// SPDX-License-Identifier: Apache-2.0
#include "tornado/detail/state.hpp"

#include "loop_core.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/log.hpp"

#include <stdexcept>

namespace tornado::detail {

bool Origin::collect_frames(std::vector<Suspension*>&) const { return true; }
std::string Origin::describe() const { return "something that can be cancelled"; }

void StateBase::log_unobserved() noexcept {
  log::log_exception(log::app_log, "Future exception was never retrieved", error);
}

// What still waits when the last handle goes are callbacks that will never be called.
void StateBase::drop_waiters() noexcept {
  while (Node* node = waiters.pop_front()) static_cast<StateCallback*>(node)->drop_waiting();
}

void StateBase::wake() noexcept {
  while (Node* node = waiters.pop_front()) {
    if (node->kind() == Node::Kind::callback) {
      static_cast<StateCallback*>(node)->link().unlink();
      add_ref();  // held by it from now on
    }
    node->loop->schedule(*node);
  }
}

void StateBase::add_waiter(Node& node) {
  LoopCore& core = LoopCore::current();
  node.loop = &core;
  waiters.push_back(node);
  if (node.kind() == Node::Kind::callback) {
    auto& callback = static_cast<StateCallback&>(node);
    callback.target = this;
    core.add_callback(callback);
  }
  if (done()) wake();
}

void StateBase::abandon() noexcept {
  observed = true;
  complete(Status::cancelled);
}

bool StateBase::cancel() noexcept {
  if (done()) return false;
  if (origin_ != nullptr && origin_->cancel_requested(*this) == Origin::Answer::later) return true;
  if (!done()) complete(Status::cancelled);
  return true;
}

std::exception_ptr StateBase::failure() {
  switch (status_) {
    case Status::error:
      observed = true;
      return error;
    case Status::cancelled:
      return std::make_exception_ptr(CancelledError());
    default:
      return std::make_exception_ptr(
          InvalidStateError("the Future is not done: it has no result yet"));
  }
}

void StateBase::throw_already_done() {
  throw InvalidStateError("the Future is done already: it takes one result only");
}

void StateBase::throw_taken() {
  throw InvalidStateError("the Future's value was moved out by an earlier co_await or result");
}

std::exception_ptr StateBase::look() {
  if (status_ != Status::error) require_value();
  observed = true;
  return error;
}

void set_exception(StateBase& state, std::exception_ptr error) {
  if (!error) throw std::invalid_argument("set_exception: the exception_ptr is null");
  if (state.done()) StateBase::throw_already_done();
  state.fail(std::move(error));
}

void log_error_after_cancel(const std::exception_ptr& error) {
  log::log_exception(log::app_log, "Exception after Future was cancelled", error);
}

State<void>::State(std::uint32_t refs, std::uint32_t memory) noexcept : StateBase(refs, memory) {}
State<void>::~State() = default;

void State<void>::dispose() noexcept {
  const std::uint32_t list = memory();
  if (status() != Status::value) this->~State();  // else there is no error, and nobody waits
  deallocate_to(this, list);
}

}  // namespace tornado::detail
