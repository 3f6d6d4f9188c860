// SPDX-License-Identifier: Apache-2.0
//
// The functions of netutil that need no loop. Its classes are in address.cpp and socket.cpp, its
// errors in lookup.cpp.
#include "tornado/netutil.hpp"

#include "lookup.hpp"
#include "socket_system.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <utility>

#ifndef _WIN32
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace tornado::netutil {

using detail::throw_last_error;

namespace {

// ----- bind_sockets

Socket listen_on(const Address& address, const BindOptions& options) {
  Socket socket = Socket::tcp(address.family());
#ifndef _WIN32
  // On Windows it would let two programs have the same port.
  socket.set_reuse_address(true);
#endif
  if (options.reuse_port) socket.set_reuse_port(true);
  if (address.family() == AF_INET6) {
    // Linux would take IPv4 connections too, and a socket for IPv4 could not have the same port.
    detail::set_option(socket.native_handle(), IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
  }
  socket.bind(address);
  socket.listen(options.backlog);
  return socket;
}

// Whether to go on without the address. Only these cases: elsewhere EADDRNOTAVAIL is somebody's
// typing error.
bool may_skip(const std::error_code& error, std::string_view requested, const Address& address) {
  if (error == std::errc::address_family_not_supported) return true;
  // Docker's default: IPv6 sockets can be made, and localhost is also ::1, which nothing has.
  return error == std::errc::address_not_available && requested == "localhost" &&
         address.host() == "::1";
}

std::vector<Socket> listen_on_all(const std::vector<Address>& addresses, std::string_view requested,
                                  const BindOptions& options) {
  std::vector<Socket> sockets;
  std::exception_ptr skipped;
  std::uint16_t chosen_port = 0;
  for (const Address& address : addresses) {
    try {
      const bool use_chosen = address.port() == 0 && chosen_port != 0;
      sockets.push_back(
          listen_on(use_chosen ? Address(address.host(), chosen_port) : address, options));
      chosen_port = sockets.back().local_address().port();
    } catch (const std::system_error& e) {
      if (!may_skip(e.code(), requested, address)) throw;
      skipped = std::current_exception();
    }
  }
  if (sockets.empty()) std::rethrow_exception(skipped);
  return sockets;
}

// ----- bind_unix_socket

#ifndef _WIN32
// Whether something listens at the address, or at least may: only a refused connection says no.
bool is_in_use(const Address& address) {
  const Socket probe = Socket::unix_stream();
  return ::connect(probe.native_handle(), static_cast<const sockaddr*>(address.data()),
                   static_cast<socklen_t>(address.size())) == 0 ||
         errno != ECONNREFUSED;
}

// Makes way for a bind to the address of `file`, or throws what bind would, and why.
void remove_stale_socket(const std::string& file, const Address& address) {
  struct stat status;
  if (::lstat(file.c_str(), &status) != 0) return;  // if it is not just missing, bind says so
  if (!S_ISSOCK(status.st_mode)) {
    throw std::system_error(EEXIST, std::system_category(),
                            fmt::format("bind to {}, which is not a socket", address.str()));
  }
  if (is_in_use(address)) {
    throw std::system_error(EADDRINUSE, std::system_category(), "bind to " + address.str());
  }
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
    throw_last_error(fmt::format("remove the stale socket {}", file));
  }
}
#endif

}  // namespace

std::vector<Socket> bind_sockets(std::uint16_t port, std::string_view address,
                                 const BindOptions& options) {
  // Sorted as they come: libstdc++ 12's std::stable_sort uses what C++17 deprecates, and clang 19
  // says so.
  const auto by_family = [](const Address& a, const Address& b) { return a.family() < b.family(); };
  std::vector<Address> addresses;
  for (Address& each :
       detail::resolve(address, port, options.family, options.flags.value_or(AI_PASSIVE))) {
    addresses.insert(std::upper_bound(addresses.begin(), addresses.end(), each, by_family),
                     std::move(each));
  }
  for (int tries_left = 10;; --tries_left) {
    try {
      return listen_on_all(addresses, address, options);
    } catch (const std::system_error& e) {
      // The port that the system chose for the first family can be in use in the second.
      const bool again = port == 0 && e.code() == std::errc::address_in_use;
      if (!again || tries_left == 1) throw;
    }
  }
}

#ifdef _WIN32
Socket bind_unix_socket(std::string_view path, unsigned, int) {
  throw std::system_error(std::make_error_code(std::errc::address_family_not_supported),
                          "bind to " + Address::unix_path(path).str());
}
#else
Socket bind_unix_socket(std::string_view path, unsigned mode, int backlog) {
  const Address address = Address::unix_path(path);
  Socket socket = Socket::unix_stream();
  if (path.starts_with('\0')) {
    socket.bind(address);
  } else {
    const std::string file(path);
    remove_stale_socket(file, address);
    // Linux makes the file with the mode of the descriptor, less the umask; others ignore this.
    ::fchmod(socket.native_handle(), static_cast<mode_t>(mode));
    socket.bind(address);
    // What the umask took away. Nobody can have connected meanwhile: nobody listens yet.
    if (::chmod(file.c_str(), static_cast<mode_t>(mode)) != 0) {
      throw_last_error(fmt::format("set the mode of {} to {:o}", address.str(), mode));
    }
  }
  socket.listen(backlog);
  return socket;
}
#endif

bool is_valid_ip(std::string_view ip) noexcept { return detail::lookup_ip(ip) != nullptr; }

}  // namespace tornado::netutil
