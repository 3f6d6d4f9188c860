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

namespace {

using TimePoint = PeriodicCore::TimePoint;
using Duration = PeriodicCore::Duration;

// What the clock cannot represent is as good as never; NaN becomes zero, which is refused.
Duration saturated(std::chrono::duration<double, Duration::period> length) noexcept {
  if (!(length.count() > 0)) return Duration::zero();
  if (length >= std::chrono::duration<double, Duration::period>(Duration::max())) {
    return Duration::max();
  }
  return std::chrono::duration_cast<Duration>(length);
}

TimePoint later(TimePoint from, Duration by) noexcept {
  return by > TimePoint::max() - from ? TimePoint::max() : from + by;
}

double random_fraction() {
  thread_local std::minstd_rand random(std::random_device{}());
  return std::uniform_real_distribution<double>(0, 1)(random);
}

}  // namespace

TimePoint next_tick(TimePoint last, TimePoint now, Duration interval) noexcept {
  // A clock that went back must not bring the same tick twice.
  if (last > now) return later(last, interval);
  return later(last + (now - last) / interval * interval, interval);
}

Duration jittered(Duration period, double jitter, double random) noexcept {
  const Duration interval = saturated(period * (1 + jitter * (random - 0.5)));
  return interval > Duration::zero() ? interval : Duration(1);
}

// While the callback runs, and what it waits for. Ends also with the frame of run(), when the loop
// closes: the PeriodicCallback may then be started on another.
class PeriodicCore::InCallback {
 public:
  explicit InCallback(PeriodicCore& core) noexcept : core_(core) { core_.in_callback_ = true; }
  ~InCallback() { core_.in_callback_ = false; }
  InCallback(const InCallback&) = delete;
  InCallback& operator=(const InCallback&) = delete;

 private:
  PeriodicCore& core_;
};

PeriodicCore::PeriodicCore(std::chrono::duration<double> period, double jitter)
    : period_(saturated(period)), jitter_(jitter) {
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
  const Duration interval = jitter_ > 0 ? jittered(period_, jitter_, random_fraction()) : period_;
  next_ = next_tick(next_, IOLoop::Clock::now(), interval);
  timeout_ = core_->owner().call_at(next_, &PeriodicCore::run, shared_from_this());
}

Future<void> PeriodicCore::run(std::shared_ptr<PeriodicCore> self) {
  {
    const InCallback running(*self);
    try {
      const Ref<StateBase> end = self->call();
      if (end) {
        DoneAwaiter wait(*end);
        co_await wait;
        if (end->status() == Status::error) end->require_value();
      }
    } catch (...) {
      report_callback_exception();
    }
  }
  self->schedule_next();
}

}  // namespace detail

PeriodicCallback::~PeriodicCallback() { stop(); }
void PeriodicCallback::start() { core_->start(); }
void PeriodicCallback::stop() noexcept { core_->stop(); }
bool PeriodicCallback::is_running() const noexcept { return core_->is_running(); }

}  // namespace tornado
