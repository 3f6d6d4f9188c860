// SPDX-License-Identifier: Apache-2.0
//
// Many connections to one server, and the lines that go over them.
#pragma once

#include "options.hpp"
#include "results.hpp"
#include <tornado/concurrent.hpp>
#include <tornado/iostream.hpp>
#include <tornado/netutil.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

namespace c10k {

/// Opens connections and exchanges lines over them. What happens goes into the Results, also while
/// it happens; a connection that fails is closed, counted, and left out from then on.
class Client {
 public:
  /// \param results  outlives the client and the Futures that it returned.
  Client(const Options& options, tornado::Address server, Results& results);

  /// Opens all connections, a limited number at a time, and exchanges a first line over each, so
  /// that the server has it, and not only the system's queue of those to be accepted.
  tornado::Future<void> open_all();

  /// Lets all connections exchange lines until the time is over and each has its last line back.
  tornado::Future<void> exchange_all();

 private:
  using Clock = std::chrono::steady_clock;

  struct Connection {
    std::size_t number = 0;
    std::uint64_t lines = 0;  // sent
    tornado::IOStream stream;
  };

  tornado::Future<void> open_some();
  tornado::Future<void> open(Connection& connection);
  tornado::Future<tornado::IOStream> connect();
  tornado::Future<void> exchange_lines(Connection& connection, Clock::time_point next);
  tornado::Future<Clock::duration> exchange_line(Connection& connection);
  void fail(Connection& connection, const std::exception& error);

  const Options options_;
  const tornado::Address server_;
  Results& results_;
  std::vector<Connection> connections_;
  std::size_t next_to_open_ = 0;
  int source_ = 1;              // connections come from 127.0.0.source_
  Clock::duration interval_{};  // from one line of a connection to its next
  Clock::time_point end_;
};

}  // namespace c10k
