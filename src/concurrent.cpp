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

void report(const std::exception_ptr& error) noexcept {
  if (LoopCore* core = LoopCore::running()) {
    core->report(error);
  } else {
    log::log_exception(log::app_log, "Exception in callback", error);
  }
}

/// A failed Future's error, if nobody has looked at it; from now on somebody has.
std::exception_ptr take_unseen_error(StateBase& state) noexcept {
  if (state.status() != Status::error || std::exchange(state.observed, true)) return nullptr;
  return state.error;
}

/// Reports the error of a callback's coroutine, and keeps the callback until the coroutine ends.
class Watcher final : public StateCallback {
 public:
  explicit Watcher(Node* keeper) noexcept
      : StateCallback(node_type<&on_event, Kind::callback>), keeper_(keeper) {}

  static void report_failure(StateBase& state) noexcept {
    if (const std::exception_ptr error = take_unseen_error(state)) report(error);
  }

 private:
  ~Watcher() { keeper_->handle(Event::drop); }
  static void on_event(Node* node, Event event) noexcept {
    auto* self = static_cast<Watcher*>(node);
    if (event == Event::run) report_failure(*self->target);
    delete self;
  }

  Node* keeper_;
};

/// Logs the error with which an abandoned Future ends.
class FailureLog final : public StateCallback {
 public:
  explicit FailureLog(bool (*quiet)(const std::exception_ptr&)) noexcept
      : StateCallback(node_type<&on_event, Kind::callback>), quiet_(quiet) {}

 private:
  ~FailureLog() = default;
  static void on_event(Node* node, Event event) noexcept {
    auto* self = static_cast<FailureLog*>(node);
    if (event == Event::run) self->log_failure();
    delete self;
  }
  void log_failure() const noexcept {
    const std::exception_ptr error = take_unseen_error(*target);
    if (!error || (quiet_ != nullptr && quiet_(error))) return;
    log::log_exception(log::app_log, "Exception in Future after timeout", error);
  }

  bool (*quiet_)(const std::exception_ptr&);
};

}  // namespace

void report_callback_exception() noexcept { report(std::current_exception()); }

bool watch(StateBase& state, Node* keeper) {
  if (state.done()) {
    Watcher::report_failure(state);
    return false;
  }
  state.add_waiter(*new Watcher(keeper));
  return true;
}

TORNADO_EXPORT void log_if_it_fails(StateBase& state, bool (*quiet)(const std::exception_ptr&)) {
  state.add_waiter(*new FailureLog(quiet));
}

void break_promise(StateBase& state) noexcept {
  if (state.done()) return;
  const LoopCore* core = LoopCore::running();
  const bool unseen = state.unique() && state.waiters.empty();
  if (unseen || (core != nullptr && core->closed())) {
    state.abandon();
  } else {
    state.fail(std::make_exception_ptr(std::future_error(std::future_errc::broken_promise)));
  }
}

RemoteCell::RemoteCell(StateBase* state)
    : Node(node_type<&on_event, Kind::job>),
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
  broken_ = true;
  send();
}

void RemoteCell::on_event(Node* node, Event event) noexcept {
  auto* self = static_cast<RemoteCell*>(node);
  if (event == Event::run && self->state_ != nullptr) {
    if (self->state_->done()) {
      // Cancelled meanwhile: an error is not lost for that.
      if (self->error_) log_error_after_cancel(self->error_);
    } else if (self->broken_) {
      break_promise(*self->state_);
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
