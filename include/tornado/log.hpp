// SPDX-License-Identifier: Apache-2.0
//
// tornado/log.hpp: Tornado's three loggers and where their records go.
//
// Everything here may be used from any thread, and at any time: before main, after it, and in the
// destructors of static objects.
#pragma once

#include "tornado/detail/chrono.hpp"
#include "tornado/detail/export.hpp"
#include "tornado/detail/functional.hpp"

#if __has_include(<fmt/base.h>)
#include <fmt/base.h>
#else
#include <fmt/core.h>
#endif

#include <atomic>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

namespace tornado {

/// How much a record matters, least first. Lower case, since ERROR is a macro on some platforms.
enum class LogLevel : std::uint8_t { debug, info, warning, error, critical };

/// "DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL".
TORNADO_EXPORT std::string_view to_string(LogLevel level) noexcept;

/// One message, as a sink sees it. The views are good only during the call of the sink.
struct LogRecord {
  LogLevel level;
  std::string_view logger;   ///< `tornado.general` and the like.
  std::string_view message;  ///< Formatted, without a newline at its end.
  std::chrono::system_clock::time_point time;
};

using LogSink = std::function<void(const LogRecord&)>;

/// Sends the records of all loggers to `sink` from now on.
///
///     set_log_sink([](const LogRecord& record) {
///       syslog(LOG_WARNING, "%s", std::string(record.message).c_str());
///     });
///
/// The sink is called in the thread that logs, one call at a time, and never again once this
/// function has returned with it. What a sink logs itself, and what it fails to handle because it
/// throws, goes to stderr. It must not wait for a thread that may be logging.
///
/// \param sink  what takes the records; an empty one restores the default, which writes lines such
///              as `WARNING:tornado.general:message` to stderr.
/// \returns  the previous sink; empty if that was the default.
/// \throws std::logic_error  if called by a sink.
TORNADO_EXPORT LogSink set_log_sink(LogSink sink);

/// A named source of records with a threshold of its own, which is `warning` at the start, as in
/// Python. Nothing is formatted, or costs more than a load and a compare, below it.
///
///     log::app_log.warning("{} gave up after {} attempts", name, attempts);
///
/// Format strings are {fmt}'s and are checked when compiled. Logging does not throw: what cannot be
/// formatted is reported in place of the message.
class TORNADO_EXPORT Logger {
 public:
  /// \param name  kept as a pointer: a literal.
  constexpr explicit Logger(const char* name) noexcept : name_(name) {}

  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  std::string_view name() const noexcept { return name_; }

  /// Drops records below `level` from now on. Python: `setLevel`.
  void set_level(LogLevel level) noexcept { level_.store(level, std::memory_order_relaxed); }
  LogLevel level() const noexcept { return level_.load(std::memory_order_relaxed); }

  /// Whether records of this level go anywhere. Python: `isEnabledFor`.
  bool is_enabled(LogLevel level) const noexcept { return level >= this->level(); }

  template <class... Args>
  void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) noexcept {
    if (is_enabled(level)) emit(level, format, fmt::make_format_args(args...));
  }

  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) noexcept {
    log<Args...>(LogLevel::debug, format, static_cast<Args&&>(args)...);
  }

  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) noexcept {
    log<Args...>(LogLevel::info, format, static_cast<Args&&>(args)...);
  }

  template <class... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) noexcept {
    log<Args...>(LogLevel::warning, format, static_cast<Args&&>(args)...);
  }

  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) noexcept {
    log<Args...>(LogLevel::error, format, static_cast<Args&&>(args)...);
  }

  template <class... Args>
  void critical(fmt::format_string<Args...> format, Args&&... args) noexcept {
    log<Args...>(LogLevel::critical, format, static_cast<Args&&>(args)...);
  }

 private:
  void emit(LogLevel level, fmt::string_view format, fmt::format_args args) const noexcept;

  const char* name_;
  std::atomic<LogLevel> level_{LogLevel::warning};
};

namespace log {

using tornado::Logger;
using tornado::LogLevel;
using tornado::LogRecord;
using tornado::LogSink;
using tornado::set_log_sink;

/// `tornado.access`: requests served; errors are 4xx and 5xx.
extern TORNADO_EXPORT Logger access_log;

/// `tornado.application`: errors in the code of the application, such as a callback that throws.
extern TORNADO_EXPORT Logger app_log;

/// `tornado.general`: everything else that the library has to say.
extern TORNADO_EXPORT Logger gen_log;

/// "std::runtime_error: no such thing": the type of what was thrown, and its `what()` if not empty.
/// What is not a `std::exception`, such as `CancelledError`, gives its type alone.
TORNADO_EXPORT std::string describe(const std::exception_ptr& exception) noexcept;

/// Logs one error: `what_happened`, a colon, and the exception as `describe` gives it.
TORNADO_EXPORT void log_exception(Logger& logger, std::string_view what_happened,
                                  const std::exception_ptr& exception) noexcept;

}  // namespace log

}  // namespace tornado
