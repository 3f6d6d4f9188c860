// SPDX-License-Identifier: Apache-2.0
//
// tornado/util.hpp: what the other modules share: two errors and the Deadline.
//
// All of these are values: different threads may use different ones freely.
#pragma once

#include "tornado/detail/export.hpp"

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <system_error>
#include <type_traits>

namespace tornado {

/// A descriptor, or on Windows a SOCKET.
#ifdef _WIN32
using native_handle_type = std::uintptr_t;
#else
using native_handle_type = int;
#endif

/// Something did not happen in time. Python: `util.TimeoutError`, which `gen` and `ioloop` share.
class TORNADO_EXPORT TimeoutError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  TimeoutError() : std::runtime_error("Timeout") {}
  ~TimeoutError() override;
};

/// What the world outside did to a stream or a lookup: the base of `StreamClosedError` and
/// `ResolverError`.
///
/// `code()` says why. What the system reported is in `std::system_category()`, also where Asio has
/// a category of its own. Python: `IOError`, whose `errno` is `code().value()`.
class TORNADO_EXPORT IOError : public std::system_error {
 public:
  using std::system_error::system_error;
  ~IOError() override;
};

/// The moment at which a wait ends, on the monotonic clock.
///
/// Not made by name but from what the caller has. It is taken as `std::optional<Deadline>`, where
/// `std::nullopt` (Python's None) waits for ever:
///
///     void wait(std::optional<Deadline> deadline = std::nullopt);
///     wait(2s);                                    // two seconds from this call
///     wait(std::chrono::steady_clock::now() + 2s); // the same
///     wait(2);                                     // does not compile: 2 of what?
///
/// Python: a float is a time on the loop's clock, a timedelta counts from now. The clock differs:
/// Tornado's default is the wall clock, which can jump.
class TORNADO_EXPORT Deadline {
 public:
  using Clock = std::chrono::steady_clock;
  using time_point = Clock::time_point;

  /// \param timeout  counted from this call; zero and less mean now, and what the clock cannot
  ///                 represent (about 292 years), infinity included, means never. A hundred days
  ///                 and less are exact to the nanosecond.
  /// \throws std::invalid_argument  if it is NaN.
  template <class Rep, class Period>
  Deadline(const std::chrono::duration<Rep, Period>& timeout) : when_(after(timeout)) {}

  /// \param when  taken as it is; a moment in the past has expired.
  Deadline(time_point when) noexcept : when_(when) {}

  /// The same for a time_point in other units, such as `steady_clock::now() + 1.5s`.
  ///
  /// \param when  what the clock cannot represent is taken as its latest or earliest moment.
  /// \throws std::invalid_argument  if it is NaN.
  template <class Duration>
  Deadline(const std::chrono::time_point<Clock, Duration>& when)
      : when_(at(when.time_since_epoch())) {}

  // A bare number has no unit: write 5s, 500ms or std::chrono::duration<double>(x).
  template <class Number>
    requires std::is_arithmetic_v<Number>
  Deadline(Number) = delete;

  /// A deadline that does not expire.
  static Deadline never() noexcept { return time_point::max(); }

  /// The moment itself; `time_point::max()` for never.
  time_point when() const noexcept { return when_; }

  /// Whether the moment has come.
  bool expired() const noexcept { return Clock::now() >= when_; }

 private:
  using Ticks = std::chrono::duration<double, Clock::period>;
  static time_point after(Ticks timeout);
  static time_point at(Ticks since_epoch);

  time_point when_;
};

namespace util {
using tornado::TimeoutError;
}  // namespace util

}  // namespace tornado
