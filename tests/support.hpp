// SPDX-License-Identifier: Apache-2.0
//
// tests/support.hpp: what the tests of all modules use. tests/main.cpp fails every test that logs a
// warning or worse which no ExpectLog waits for.
#pragma once

#include "tornado/log.hpp"
#include "tornado/netutil.hpp"

#include <doctest/doctest.h>

#ifdef _WIN32
#include <winsock2.h>
#else
#include <sys/socket.h>
#endif

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace test {

/// A listening socket on a port that nobody else has. Python: `testing.bind_unused_port`.
inline std::pair<tornado::Socket, std::uint16_t> bind_unused_port(
    bool reuse_port = false, std::string_view address = "127.0.0.1") {
  auto sockets =
      tornado::netutil::bind_sockets(0, address, {.family = AF_INET, .reuse_port = reuse_port});
  const std::uint16_t port = sockets.front().local_address().port();
  return {std::move(sockets.front()), port};
}

/// Waits for records that a part of a test is to log, and keeps them from failing it. The test
/// fails if none came before the end of the scope. Python: `testing.ExpectLog`.
///
///     {
///       test::ExpectLog expected(log::app_log, "Exception in callback");
///       loop.start();
///       CHECK(expected.count() == 1);
///     }
///
/// Scopes nest; an inner one is asked first. A record below the logger's own level never comes.
class ExpectLog {
 public:
  /// \param text  what the message contains.
  ExpectLog(const tornado::Logger& logger, std::string text,
            tornado::LogLevel level = tornado::LogLevel::error)
      : logger_(logger), text_(std::move(text)), level_(level) {
    // In two steps: from the second on another thread may log, and previous_ is there by then.
    previous_ = tornado::set_log_sink({});
    tornado::set_log_sink([this](const tornado::LogRecord& record) { take(record); });
  }

  ~ExpectLog() {
    tornado::set_log_sink(std::move(previous_));
    CHECK_MESSAGE(count() > 0, "no ", std::string(to_string(level_)), " of ",
                  std::string(logger_.name()), " contained \"", text_, "\"");
  }

  ExpectLog(const ExpectLog&) = delete;
  ExpectLog& operator=(const ExpectLog&) = delete;

  /// Matching records so far.
  int count() const noexcept { return count_; }

 private:
  void take(const tornado::LogRecord& record) {
    if (record.level == level_ && record.logger == logger_.name() &&
        record.message.find(text_) != record.message.npos) {
      ++count_;
    } else if (previous_) {
      previous_(record);
    }
  }

  const tornado::Logger& logger_;
  const std::string text_;
  const tornado::LogLevel level_;
  tornado::LogSink previous_;
  std::atomic<int> count_ = 0;
};

}  // namespace test
