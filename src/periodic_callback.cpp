// SPDX-License-Identifier: Apache-2.0
#include "loop_core.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <cmath>
#include <random>
#include <stdexcept>
#include <utility>

namespace tornado {
namespace detail {

PeriodicCore::TimePoint next_tick(PeriodicCore::TimePoint last, PeriodicCore::TimePoint now,
                                  PeriodicCore::Duration interval) noexcept {
  // A clock that went back must not bring the same tick twice.
  if (last > now) return last + interval;
  return last + ((now - last) / interval + 1) * interval;
}

PeriodicCore::PeriodicCore(std::chrono::duration<double> period, double jitter)
    : period_(std::chrono::duration_cast<Duration>(period)), jitter_(jitter) {
  if (!(period.count() > 0) || period_ <= Duration::zero()) {
    throw std::invalid_argument("PeriodicCallback: the period has to be above zero");
  }
  if (!(jitter >= 0 && jitter < 2)) {
    throw std::invalid_argument("PeriodicCallback: the jitter has to be at least 0 and below 2");
  }
}

PeriodicCore::~PeriodicCore() = default;

void PeriodicCore::start() {
  if (running_) return;
  core_ = LoopCore::current().shared_from_this();
  running_ = true;
  next_ = IOLoop::Clock::now();
  if (!in_callback_) schedule_next();
}

void PeriodicCore::stop() noexcept {
  running_ = false;
  if (core_ && !core_->closed()) core_->owner().remove_timeout(timeout_);
  timeout_ = Timeout();
}

void PeriodicCore::schedule_next() {
  if (!running_ || core_->closed()) return;
  Duration interval = period_;
  if (jitter_ > 0) {
    thread_local std::minstd_rand random(std::random_device{}());
    const double factor =
        1 + jitter_ * (std::uniform_real_distribution<double>(0, 1)(random) - 0.5);
    interval = std::chrono::duration_cast<Duration>(period_ * factor);
    if (interval <= Duration::zero()) interval = Duration(1);
  }
  next_ = next_tick(next_, IOLoop::Clock::now(), interval);
  timeout_ = core_->owner().call_at(next_, &PeriodicCore::run, shared_from_this());
}

Future<void> PeriodicCore::run(std::shared_ptr<PeriodicCore> self) {
  self->in_callback_ = true;
  try {
    const Ref<StateBase> end = self->call();
    if (end) {
      DoneAwaiter wait(*end);
      co_await wait;
      if (end->status() == Status::error) end->throw_failure();
    }
  } catch (...) {
    report_callback_exception();
  }
  self->in_callback_ = false;
  self->schedule_next();
}

}  // namespace detail

PeriodicCallback::~PeriodicCallback() { stop(); }
void PeriodicCallback::start() { core_->start(); }
void PeriodicCallback::stop() noexcept { core_->stop(); }
bool PeriodicCallback::is_running() const noexcept { return core_->is_running(); }

}  // namespace tornado
