// SPDX-License-Identifier: Apache-2.0
//
// The load generator's end of the connections: plain sockets, one epoll set, no library.
#pragma once

#include "pattern.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

#include <sys/epoll.h>

/// A connection that sends the pattern, and checks what comes back.
class Connection {
 public:
  /// Connects, from one of many addresses of this machine: closed connections keep their ports for
  /// a minute.
  ///
  /// \param number  which part of the pattern it sends.
  Connection(std::uint16_t port, std::size_t number);
  ~Connection() { close(); }
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;

  /// Sends the next `size` bytes, all at once.
  void send(std::size_t size);
  /// Sends as many of the next `size` bytes as the system takes.
  void send_some(std::size_t size);
  /// Takes what has come, or waits for it.
  ///
  /// \returns  how many bytes that were.
  std::size_t receive();
  void close() noexcept;

  int fd() const noexcept { return fd_; }
  /// Bytes that have not come back.
  std::uint64_t awaited() const noexcept { return sent_ - received_; }

 private:
  static const Pattern pattern;

  int fd_ = -1;
  std::size_t number_;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
};

/// Waits for connections.
class Poll {
 public:
  Poll();
  ~Poll();
  Poll(const Poll&) = delete;
  Poll& operator=(const Poll&) = delete;

  void add(Connection& connection, std::uint32_t events = EPOLLIN);
  void change(Connection& connection, std::uint32_t events);

  /// Calls f(connection, events) for each that is ready, after waiting for one; or after 100 ms.
  template <class F>
  void wait(F f) {
    const int count = wait_for_events();
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      f(*static_cast<Connection*>(event.data.ptr), event.events);
    }
  }

 private:
  int wait_for_events();

  int epoll_;
  std::vector<epoll_event> events_;
};
