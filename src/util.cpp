// SPDX-License-Identifier: Apache-2.0
#include "tornado/util.hpp"

#include <fmt/format.h>

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

namespace util {
namespace {

bool is_alphanumeric(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

void raise_exc_info(const std::exception_ptr& error) {
  if (!error) throw std::invalid_argument("raise_exc_info: there is no exception");
  std::rethrow_exception(error);
}

std::optional<int> errno_from_exception(const std::exception_ptr& error) noexcept {
  if (!error) return std::nullopt;
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& failure) {
    const std::error_condition condition = failure.code().default_error_condition();
    if (failure.code().category() == std::system_category()) return failure.code().value();
    if (condition.category() == std::generic_category()) return condition.value();
  } catch (...) {
  }
  return std::nullopt;
}

std::string re_unescape(std::string_view escaped) {
  std::string text;
  text.reserve(escaped.size());
  for (std::size_t i = 0; i < escaped.size(); ++i) {
    if (escaped[i] == '\\') {
      if (++i == escaped.size()) {
        throw std::invalid_argument("re_unescape: there is nothing behind the last backslash");
      }
      if (is_alphanumeric(escaped[i])) {
        throw std::invalid_argument(fmt::format("re_unescape: cannot unescape '\\{}'", escaped[i]));
      }
    }
    text += escaped[i];
  }
  return text;
}

}  // namespace util

}  // namespace tornado
