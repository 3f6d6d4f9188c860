// SPDX-License-Identifier: Apache-2.0
#include "tornado/util.hpp"

#include <cmath>

namespace tornado {

TimeoutError::~TimeoutError() = default;

IOError::~IOError() = default;

Deadline::time_point Deadline::after(Ticks timeout) {
  if (std::isnan(timeout.count())) {
    throw std::invalid_argument("Deadline: the timeout is NaN, not a time");
  }
  const time_point now = Clock::now();
  if (timeout <= Ticks::zero()) return now;
  // Strictly less as a double is never more as an integer, however the room was rounded.
  if (timeout < Ticks(time_point::max() - now)) {
    return now + Clock::duration(std::llround(timeout.count()));
  }
  return time_point::max();
}

Deadline::time_point Deadline::at(Ticks since_epoch) {
  if (std::isnan(since_epoch.count())) {
    throw std::invalid_argument("Deadline: the time_point is NaN, not a time");
  }
  if (since_epoch >= Ticks(Clock::duration::max())) return time_point::max();
  if (since_epoch <= Ticks(Clock::duration::min())) return time_point::min();
  return time_point(Clock::duration(std::llround(since_epoch.count())));
}

}  // namespace tornado
