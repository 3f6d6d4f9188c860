// SPDX-License-Identifier: Apache-2.0
//
// tornado/util.hpp: what the other modules share: two errors, the Deadline, Configurable, and a few
// functions.
//
// The errors and Deadline are values: different threads may use different ones freely. Everything
// else may be used from any thread.
#pragma once

#include "tornado/detail/chrono.hpp"
#include "tornado/detail/export.hpp"
#include "tornado/detail/functional.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <utility>

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

namespace detail {

/// What a Configurable knows, whatever its factories are.
class TORNADO_EXPORT Implementations {
 public:
  using Factory = std::shared_ptr<const void>;
  struct Configuration {
    std::string name;  // empty: the default
    Factory factory;   // null: the one registered by that name
  };

  Implementations();
  ~Implementations();
  Implementations(const Implementations&) = delete;
  Implementations& operator=(const Implementations&) = delete;

  /// Of an interface; the same for the program and its shared libraries.
  static Implementations& of(std::type_index base);

  void add(std::string name, Factory factory);
  /// \throws std::invalid_argument  when there is no factory, nor one by that name.
  void configure(Configuration configuration);
  Configuration configuration() const;
  void restore(Configuration configuration);
  /// \throws std::invalid_argument  when it is the default's, and that was never registered.
  Factory chosen(std::string_view by_default) const;

 private:
  struct Data;
  std::shared_ptr<Data> data_;  // unshared; a unique_ptr takes longer to compile
};

}  // namespace detail

namespace util {
using tornado::TimeoutError;

/// An interface whose implementation the program chooses while it runs. Python:
/// `tornado.util.Configurable`, whose constructor is `create` here.
///
///     class Codec : public util::Configurable<Codec, int> {  // made from an int
///      public:
///       virtual ~Codec() = default;
///       virtual std::string encode(std::string_view text) = 0;
///       static std::string_view configurable_default() { return "plain"; }
///     };
///
///     Codec::register_implementation<PlainCodec>("plain");
///     Codec::register_implementation<ZipCodec>("zip");
///     Codec::configure("zip");
///     std::unique_ptr<Codec> codec = Codec::create(9);  // a ZipCodec(9)
///
/// What Python finds by importing a module has to be registered here. An implementation may be
/// Configurable itself: its factory calls its own `create`.
template <class Base, class... Args>
class Configurable {
 public:
  using Factory = std::function<std::unique_ptr<Base>(Args...)>;
  /// What was configured; for `restore_configuration`.
  class Configuration {
   public:
    Configuration() = default;

   private:
    friend class Configurable;
    explicit Configuration(detail::Implementations::Configuration what) : what_(std::move(what)) {}
    detail::Implementations::Configuration what_;
  };

  /// Makes an implementation known by a name, in place of an earlier one.
  static void register_implementation(std::string name, Factory factory) {
    all().add(std::move(name), shared(std::move(factory)));
  }
  template <std::derived_from<Base> Implementation>
  static void register_implementation(std::string name) {
    register_implementation(std::move(name), [](Args... args) -> std::unique_ptr<Base> {
      return std::make_unique<Implementation>(std::forward<Args>(args)...);
    });
  }

  /// Chooses what `create` makes from now on.
  ///
  /// \throws std::invalid_argument  when nothing of that name is registered; says what is.
  static void configure(std::string name) { all().configure({std::move(name), nullptr}); }
  /// The same, by a factory of its own: Python's keyword arguments of `configure` are what it adds.
  static void configure(std::string name, Factory factory) {
    all().configure({std::move(name), shared(std::move(factory))});
  }
  /// Goes back to the default.
  static void configure(std::nullptr_t) { all().restore({}); }

  /// The name of what `create` makes.
  static std::string configured_class() {
    std::string name = all().configuration().name;
    return name.empty() ? std::string(Base::configurable_default()) : name;
  }

  /// Makes an object of the configured implementation.
  ///
  /// \throws std::invalid_argument  when that is the default, and it was not registered.
  static std::unique_ptr<Base> create(Args... args) {
    const auto factory = all().chosen(Base::configurable_default());
    return (*static_cast<const Factory*>(factory.get()))(std::forward<Args>(args)...);
  }

  /// For tests, which put back what they have changed.
  static Configuration save_configuration() { return Configuration(all().configuration()); }
  static void restore_configuration(const Configuration& saved) { all().restore(saved.what_); }

 private:
  static detail::Implementations& all() { return detail::Implementations::of(typeid(Base)); }
  static detail::Implementations::Factory shared(Factory factory) {
    if (!factory) throw std::invalid_argument("Configurable: the factory is empty");
    return std::make_shared<const Factory>(std::move(factory));
  }
};

/// A duration in seconds. Python: `timedelta_to_seconds`, `timedelta.total_seconds`.
template <class Rep, class Period>
constexpr double timedelta_to_seconds(const std::chrono::duration<Rep, Period>& length) noexcept {
  return std::chrono::duration<double>(length).count();
}

/// Throws what `error` holds, as `std::rethrow_exception` does.
///
/// \throws std::invalid_argument  when it is null.
[[noreturn]] TORNADO_EXPORT void raise_exc_info(const std::exception_ptr& error);

/// The system's number for an error, `ECONNREFUSED` for one; none where it has no number.
TORNADO_EXPORT std::optional<int> errno_from_exception(const std::exception_ptr& error) noexcept;

/// Takes back what Python's `re.escape` did: a backslash in front of a character that is no letter
/// or digit.
///
/// \throws std::invalid_argument  for what `re.escape` does not write, such as `\d`.
TORNADO_EXPORT std::string re_unescape(std::string_view escaped);

}  // namespace util

}  // namespace tornado
