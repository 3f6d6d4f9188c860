// SPDX-License-Identifier: Apache-2.0
//
// tests/socket_support.hpp: what tests of sockets use, beside tests/loop_support.hpp.
#pragma once

#include "loop_support.hpp"
#include "tornado/netutil.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace test {

inline bool is_non_blocking(const tornado::Socket& socket) {
  return (::fcntl(socket.native_handle(), F_GETFL) & O_NONBLOCK) != 0;
}

inline bool is_close_on_exec(const tornado::Socket& socket) {
  return (::fcntl(socket.native_handle(), F_GETFD) & FD_CLOEXEC) != 0;
}

inline bool have_ipv6() {
  try {
    tornado::netutil::bind_sockets(0, "::1");
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

/// Blocks until poll(2) has one of `events` for `fd`.
inline void wait_for_events(tornado::native_handle_type fd, short events) {
  pollfd poll{fd, events, 0};
  const auto limit = std::chrono::milliseconds(async_test_timeout());
  REQUIRE(::poll(&poll, 1, static_cast<int>(limit.count())) == 1);
}

/// 0, or the errno of the connect.
inline int begin_connect(const tornado::Socket& socket, const tornado::Address& address) {
  const int result = ::connect(socket.native_handle(), static_cast<const sockaddr*>(address.data()),
                               static_cast<socklen_t>(address.size()));
  return result == 0 ? 0 : errno;
}

/// A client of `listener`, connected or about to be.
inline tornado::Socket connect_client(const tornado::Socket& listener) {
  const tornado::Address address = listener.local_address();
  tornado::Socket client = address.family() == AF_UNIX ? tornado::Socket::unix_stream()
                                                       : tornado::Socket::tcp(address.family());
  const int error = begin_connect(client, address);
  REQUIRE((error == 0 || error == EINPROGRESS));
  wait_for_events(listener.native_handle(), POLLIN);
  return client;
}

/// As long as it lives the process may have no more descriptors than this.
class WithDescriptorLimit {
 public:
  explicit WithDescriptorLimit(rlim_t limit) {
    ::getrlimit(RLIMIT_NOFILE, &previous_);
    const rlimit changed{std::min(limit, previous_.rlim_max), previous_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &changed);
  }
  ~WithDescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &previous_); }

 private:
  rlimit previous_;
};

}  // namespace test
