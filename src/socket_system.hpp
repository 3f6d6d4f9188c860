// SPDX-License-Identifier: Apache-2.0
//
// The system's sockets: its headers, and what its errors become.
#pragma once

#include "tornado/netutil.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#ifdef _WIN32
#define NOMINMAX 1
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#endif

namespace tornado::detail {

#ifdef _WIN32
// Asio does the same for its own; the count that Windows keeps allows both.
struct Winsock {
  Winsock() {
    WSADATA data;
    ::WSAStartup(MAKEWORD(2, 2), &data);
  }
  ~Winsock() { ::WSACleanup(); }
};
inline const Winsock winsock;

inline int last_socket_error() { return ::WSAGetLastError(); }
#else
inline int last_socket_error() { return errno; }
#endif

[[noreturn]] inline void throw_last_error(const std::string& what) {
  throw std::system_error(last_socket_error(), std::system_category(), what);
}

template <class T>
void set_option(native_handle_type handle, int level, int option, T value, std::string_view name) {
  if (::setsockopt(handle, level, option, reinterpret_cast<const char*>(&value), sizeof value) !=
      0) {
    throw_last_error(fmt::format("set {} of socket {}", name, handle));
  }
}

}  // namespace tornado::detail
