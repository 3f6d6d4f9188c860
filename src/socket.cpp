// SPDX-License-Identifier: Apache-2.0
//
// Of netutil: Socket.
#include "socket_access.hpp"
#include "socket_system.hpp"
#include "tornado/netutil.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstddef>
#include <utility>

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

namespace tornado {

using namespace std::chrono_literals;
using detail::last_socket_error;
using detail::set_option;
using detail::throw_last_error;

namespace {

#ifdef _WIN32
int close_handle(native_handle_type handle) { return ::closesocket(handle); }

void set_up(native_handle_type handle) {
  u_long on = 1;
  if (::ioctlsocket(handle, FIONBIO, &on) != 0 ||
      !::SetHandleInformation(reinterpret_cast<HANDLE>(handle), HANDLE_FLAG_INHERIT, 0)) {
    throw std::system_error(last_socket_error(), std::system_category(),
                            "make a socket non-blocking");
  }
}

constexpr bool interrupted(int) { return false; }
constexpr bool would_block(int error) { return error == WSAEWOULDBLOCK; }
constexpr bool was_aborted(int error) { return error == WSAECONNRESET; }
#else
int close_handle(native_handle_type handle) { return ::close(handle); }

void set_up(native_handle_type handle) {
  const int fd_flags = ::fcntl(handle, F_GETFD);
  const int status_flags = ::fcntl(handle, F_GETFL);
  if (fd_flags == -1 || status_flags == -1 ||
      ::fcntl(handle, F_SETFD, fd_flags | FD_CLOEXEC) == -1 ||
      ::fcntl(handle, F_SETFL, status_flags | O_NONBLOCK) == -1) {
    throw std::system_error(errno, std::system_category(),
                            fmt::format("make descriptor {} non-blocking", handle));
  }
#ifdef SO_NOSIGPIPE
  // Where there is no MSG_NOSIGNAL for each send.
  const int on = 1;
  ::setsockopt(handle, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

constexpr bool interrupted(int error) { return error == EINTR; }
constexpr bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }
// EPROTO is what some systems say for a connection that was reset while it waited.
constexpr bool was_aborted(int error) { return error == ECONNABORTED || error == EPROTO; }
#endif

// Non-blocking and close-on-exec from the first where the platform can; elsewhere adopt() does it.
#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK) && !defined(SO_NOSIGPIPE)
#define TORNADO_SOCKET_FLAGS (SOCK_CLOEXEC | SOCK_NONBLOCK)
#endif

native_handle_type open_socket(int family, std::string_view what) {
#ifdef TORNADO_SOCKET_FLAGS
  const native_handle_type handle = ::socket(family, SOCK_STREAM | TORNADO_SOCKET_FLAGS, 0);
#else
  const native_handle_type handle = ::socket(family, SOCK_STREAM, 0);
#endif
  if (handle == Socket::invalid_handle) throw_last_error(fmt::format("create {}", what));
  return handle;
}

native_handle_type accept_handle(native_handle_type listener, sockaddr* address, socklen_t* size) {
#ifdef TORNADO_SOCKET_FLAGS
  return ::accept4(listener, address, size, TORNADO_SOCKET_FLAGS);
#else
  return ::accept(listener, address, size);
#endif
}

// Closes the handle if the adoption fails.
Socket adopt(native_handle_type handle) {
#ifdef TORNADO_SOCKET_FLAGS
  return tornado::detail::SocketAccess::adopt(handle);
#else
  try {
    return Socket(handle);
  } catch (...) {
    close_handle(handle);
    throw;
  }
#endif
}

template <class T = int>
T get_option(native_handle_type handle, int level, int option, std::string_view name) {
  T value{};
  socklen_t size = sizeof value;
  if (::getsockopt(handle, level, option, reinterpret_cast<char*>(&value), &size) != 0) {
    throw_last_error(fmt::format("get {} of socket {}", name, handle));
  }
  return value;
}

using GetName = decltype(&::getsockname);

Address get_name(GetName function, native_handle_type handle, std::string_view what) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (function(handle, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    throw_last_error(fmt::format("get the {} address of socket {}", what, handle));
  }
  return Address::from_native(&name, static_cast<std::size_t>(size));
}

}  // namespace

Socket::Socket(native_handle_type handle) {
  set_up(handle);
  handle_ = handle;
}

Socket Socket::tcp(int family) {
  return adopt(open_socket(family, family == AF_INET6 ? "an IPv6 TCP socket" : "a TCP socket"));
}

Socket Socket::unix_stream() { return adopt(open_socket(AF_UNIX, "a Unix socket")); }

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    handle_ = other.release();
  }
  return *this;
}

void Socket::close() noexcept {
  if (is_open()) close_handle(release());
}

void Socket::bind(const Address& address) {
  if (::bind(handle_, static_cast<const sockaddr*>(address.data()),
             static_cast<socklen_t>(address.size())) != 0) {
    throw_last_error("bind to " + address.str());
  }
}

void Socket::listen(int backlog) {
  if (::listen(handle_, backlog) == 0) return;
  const std::error_code error(last_socket_error(), std::system_category());
  const std::string where = is_open() ? local_address().str() : "a closed socket";
  throw std::system_error(error, "listen on " + where);
}

std::optional<std::pair<Socket, Address>> Socket::accept() {
  for (;;) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    const native_handle_type handle =
        accept_handle(handle_, reinterpret_cast<sockaddr*>(&name), &size);
    if (handle != invalid_handle) {
      Socket connection = adopt(handle);
      return std::pair(std::move(connection),
                       Address::from_native(&name, static_cast<std::size_t>(size)));
    }
    const int error = last_socket_error();
    if (would_block(error)) return std::nullopt;
    if (!interrupted(error) && !was_aborted(error)) {
      throw std::system_error(error, std::system_category(),
                              fmt::format("accept on socket {}", handle_));
    }
  }
}

Address Socket::local_address() const { return get_name(&::getsockname, handle_, "local"); }

Address Socket::remote_address() const { return get_name(&::getpeername, handle_, "remote"); }

std::error_code Socket::error() {
  return {get_option(handle_, SOL_SOCKET, SO_ERROR, "SO_ERROR"), std::system_category()};
}

void Socket::set_reuse_address(bool on) {
  set_option(handle_, SOL_SOCKET, SO_REUSEADDR, int{on}, "SO_REUSEADDR");
}

bool Socket::reuse_address() const {
  return get_option(handle_, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR") != 0;
}

#ifdef SO_REUSEPORT
void Socket::set_reuse_port(bool on) {
  set_option(handle_, SOL_SOCKET, SO_REUSEPORT, int{on}, "SO_REUSEPORT");
}

bool Socket::reuse_port() const {
  return get_option(handle_, SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT") != 0;
}
#else
void Socket::set_reuse_port(bool) {
  throw std::system_error(std::make_error_code(std::errc::operation_not_supported),
                          "set SO_REUSEPORT, which this platform does not have");
}

bool Socket::reuse_port() const { return false; }
#endif

void Socket::set_nodelay(bool on) {
  set_option(handle_, IPPROTO_TCP, TCP_NODELAY, int{on}, "TCP_NODELAY");
}

bool Socket::nodelay() const {
  return get_option(handle_, IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY") != 0;
}

void Socket::set_keepalive(bool on) {
  set_option(handle_, SOL_SOCKET, SO_KEEPALIVE, int{on}, "SO_KEEPALIVE");
}

bool Socket::keepalive() const {
  return get_option(handle_, SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE") != 0;
}

void Socket::set_send_buffer_size(int bytes) {
  set_option(handle_, SOL_SOCKET, SO_SNDBUF, bytes, "SO_SNDBUF");
}

int Socket::send_buffer_size() const {
  return get_option(handle_, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF");
}

void Socket::set_receive_buffer_size(int bytes) {
  set_option(handle_, SOL_SOCKET, SO_RCVBUF, bytes, "SO_RCVBUF");
}

int Socket::receive_buffer_size() const {
  return get_option(handle_, SOL_SOCKET, SO_RCVBUF, "SO_RCVBUF");
}

void Socket::set_linger(std::optional<std::chrono::seconds> timeout) {
  struct linger value {};
  value.l_onoff = timeout.has_value();
  value.l_linger = static_cast<decltype(value.l_linger)>(timeout.value_or(0s).count());
  set_option(handle_, SOL_SOCKET, SO_LINGER, value, "SO_LINGER");
}

std::optional<std::chrono::seconds> Socket::linger() const {
  const auto value = get_option<struct linger>(handle_, SOL_SOCKET, SO_LINGER, "SO_LINGER");
  if (value.l_onoff == 0) return std::nullopt;
  return std::chrono::seconds(value.l_linger);
}

void Socket::setsockopt(int level, int option, int value) {
  set_option(handle_, level, option, value, fmt::format("option {} of level {}", option, level));
}

int Socket::getsockopt(int level, int option) const {
  return get_option(handle_, level, option, fmt::format("option {} of level {}", option, level));
}

}  // namespace tornado
