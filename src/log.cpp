// SPDX-License-Identifier: Apache-2.0
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <typeinfo>
#include <utility>

#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#endif

namespace tornado {
namespace {

struct SinkSlot {
  std::mutex mutex;  // held while the sink runs: one call at a time, none after it was replaced
  LogSink sink;
};

// Never destroyed, so that static destructors can log.
SinkSlot& sink_slot() {
  static SinkSlot* const slot = new SinkSlot;
  return *slot;
}

// This thread is inside the sink, and so holds its mutex.
thread_local constinit bool in_sink = false;

// In one write, so that the lines of several threads do not mix.
void write_to_stderr(const LogRecord& record) {
  const std::string line =
      fmt::format("{}:{}:{}\n", to_string(record.level), record.logger, record.message);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void call_sink(const LogSink& sink, const LogRecord& record) {
  struct InSink {
    InSink() { in_sink = true; }
    ~InSink() { in_sink = false; }
  } const guard;
  try {
    sink(record);
  } catch (...) {
    write_to_stderr(record);
    const std::string trouble =
        "the log sink failed to take the record above: " + log::describe(std::current_exception());
    write_to_stderr({LogLevel::error, log::gen_log.name(), trouble, record.time});
  }
}

void deliver(const LogRecord& record) {
  if (in_sink) return write_to_stderr(record);
  SinkSlot& slot = sink_slot();
  const std::lock_guard lock(slot.mutex);
  if (slot.sink) {
    call_sink(slot.sink, record);
  } else {
    write_to_stderr(record);
  }
}

std::string format_message(fmt::string_view format, fmt::format_args args) {
  try {
    return fmt::vformat(format, args);
  } catch (...) {
    return fmt::format("{} (not formatted: {})", format, log::describe(std::current_exception()));
  }
}

std::string type_name(const std::type_info& type) {
#if __has_include(<cxxabi.h>)
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  if (name) return name.get();
#endif
  return type.name();
}

// Inside a catch block.
std::string type_name_of_current_exception() {
#if __has_include(<cxxabi.h>)
  if (const std::type_info* type = abi::__cxa_current_exception_type()) return type_name(*type);
#endif
  return "an exception of unknown type";
}

}  // namespace

std::string_view to_string(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug:
      return "DEBUG";
    case LogLevel::info:
      return "INFO";
    case LogLevel::warning:
      return "WARNING";
    case LogLevel::error:
      return "ERROR";
    case LogLevel::critical:
      return "CRITICAL";
  }
  return "UNKNOWN";
}

LogSink set_log_sink(LogSink sink) {
  if (in_sink) throw std::logic_error("set_log_sink: called by the log sink");
  SinkSlot& slot = sink_slot();
  const std::lock_guard lock(slot.mutex);
  return std::exchange(slot.sink, std::move(sink));
}

void Logger::emit(LogLevel level, fmt::string_view format, fmt::format_args args) const noexcept {
  try {
    const std::string message = format_message(format, args);
    deliver({level, name_, message, std::chrono::system_clock::now()});
  } catch (...) {
    std::fputs("tornado: out of memory while logging\n", stderr);
  }
}

namespace log {

constinit Logger access_log("tornado.access");
constinit Logger app_log("tornado.application");
constinit Logger gen_log("tornado.general");

std::string describe(const std::exception_ptr& exception) noexcept {
  if (!exception) return "no exception";
  try {
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& e) {
      const std::string_view what = e.what();
      std::string name = type_name(typeid(e));
      return what.empty() ? name : fmt::format("{}: {}", name, what);
    } catch (...) {
      return type_name_of_current_exception();
    }
  } catch (...) {
    return "an exception";  // out of memory; short enough to need none
  }
}

void log_exception(Logger& logger, std::string_view what_happened,
                   const std::exception_ptr& exception) noexcept {
  if (logger.is_enabled(LogLevel::error)) {
    logger.error("{}: {}", what_happened, describe(exception));
  }
}

}  // namespace log

}  // namespace tornado
