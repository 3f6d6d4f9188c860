// SPDX-License-Identifier: Apache-2.0
#include "tornado/concurrent.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <future>
#include <utility>

namespace tornado {

CancelledError::CancelledError() noexcept = default;
CancelledError::CancelledError(const CancelledError&) noexcept = default;
CancelledError& CancelledError::operator=(const CancelledError&) noexcept = default;
CancelledError::~CancelledError() = default;
const char* CancelledError::what() const noexcept { return "cancelled"; }

InvalidStateError::InvalidStateError(const InvalidStateError&) noexcept = default;
InvalidStateError& InvalidStateError::operator=(const InvalidStateError&) noexcept = default;
InvalidStateError::~InvalidStateError() = default;

namespace detail {
namespace {

/// Logs the error with which a Future ends, and keeps what the Future's coroutine needs.
class Watcher final : public StateCallback {
 public:
  Watcher(StateBase& state, Node* keeper, bool (*quiet)(const std::exception_ptr&)) noexcept
      : StateCallback(&on_event, state), keeper_(keeper), quiet_(quiet) {}

  static void log_failure(StateBase& state, bool (*quiet)(const std::exception_ptr&)) noexcept {
    if (state.status() != Status::error || std::exchange(state.observed, true)) return;
    if (quiet != nullptr && quiet(state.error)) return;
    log::log_exception(log::app_log, "Exception in a coroutine or Future that nobody waits for",
                       state.error);
  }

 private:
  ~Watcher() {
    if (keeper_ != nullptr) keeper_->handle(Event::drop);
  }
  static void on_event(Node* node, Event event) noexcept {
    auto* self = static_cast<Watcher*>(node);
    if (event == Event::run) log_failure(*self->target, self->quiet_);
    delete self;
  }

  Node* keeper_;
  bool (*quiet_)(const std::exception_ptr&);
};

}  // namespace

void report_callback_exception() noexcept { 
  if (LoopCore* core = LoopCore::running()) {
    core->report(std::current_exception());
  } else {
    log::log_exception(log::app_log, "Exception in callback", std::current_exception());
  }
}

bool watch(StateBase& state, Node* keeper) {
  if (state.done()) {
    Watcher::log_failure(state, nullptr);
    return false;
  }
  state.add_waiter(*new Watcher(state, keeper, nullptr));
  return true;
}

void log_if_it_fails(StateBase& state, bool (*quiet)(const std::exception_ptr&)) {
  state.add_waiter(*new Watcher(state, nullptr, quiet));
}

RemoteCell::RemoteCell(StateBase* state)
    : Node(&on_event, Kind::job),
      core_(LoopCore::current().shared_from_this()),
      state_(state),
      link_(*this) {
  core_->add_remote(link_);
}

RemoteCell::~RemoteCell() = default;

void RemoteCell::release() noexcept {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
}

void RemoteCell::detach() noexcept {
  link_.unlink();
  if (StateBase* state = std::exchange(state_, nullptr)) {
    if (!state->done()) state->abandon();
    state->release();
  }
  release();
}

// The promise's reference is the queue's from here on.
void RemoteCell::send() noexcept {
  const std::shared_ptr<LoopCore> core = core_;  // this may be gone before post() has returned
  core->post(*this);
}

void RemoteCell::fail(std::exception_ptr error) {
  if (!error) throw std::invalid_argument("RemotePromise::set_exception: the pointer is null");
  error_ = std::move(error);
  send();
}

void RemoteCell::fail_broken() noexcept {
  error_ = std::make_exception_ptr(std::future_error(std::future_errc::broken_promise));
  send();
}

void RemoteCell::on_event(Node* node, Event event) noexcept {
  auto* self = static_cast<RemoteCell*>(node);
  if (event == Event::run && self->state_ != nullptr) {
    if (self->state_->done()) {
      // Cancelled meanwhile: an error is not lost for that.
      if (self->error_) log_error_after_cancel(self->error_);
    } else if (self->error_) {
      self->state_->fail(std::move(self->error_));
    } else {
      self->apply();
    }
    self->detach();
  }
  self->release();
}

void throw_promise_used() {
  throw InvalidStateError("the RemotePromise was used, or moved from, before");
}

}  // namespace detail
}  // namespace tornado
