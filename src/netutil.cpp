// SPDX-License-Identifier: Apache-2.0
#include "tornado/netutil.hpp"

#include "lookup.hpp"
#include "socket_access.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>
#include <stdexcept>

#ifdef _WIN32
#define NOMINMAX 1
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#endif

namespace tornado {

using namespace std::chrono_literals;

namespace {

// ----- what differs between the platforms

#ifdef _WIN32
struct sockaddr_un {  // afunix.h has it, where there is one
  unsigned short sun_family;
  char sun_path[108];
};

// Asio does the same for its own; the count that Windows keeps allows both.
struct Winsock {
  Winsock() {
    WSADATA data;
    ::WSAStartup(MAKEWORD(2, 2), &data);
  }
  ~Winsock() { ::WSACleanup(); }
} const winsock;

int last_error() { return ::WSAGetLastError(); }
int close_handle(native_handle_type handle) { return ::closesocket(handle); }

void set_up(native_handle_type handle) {
  u_long on = 1;
  if (::ioctlsocket(handle, FIONBIO, &on) != 0 ||
      !::SetHandleInformation(reinterpret_cast<HANDLE>(handle), HANDLE_FLAG_INHERIT, 0)) {
    throw std::system_error(last_error(), std::system_category(), "make a socket non-blocking");
  }
}

constexpr bool interrupted(int) { return false; }
constexpr bool would_block(int error) { return error == WSAEWOULDBLOCK; }
constexpr bool was_aborted(int error) { return error == WSAECONNRESET; }
#else
int last_error() { return errno; }
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

[[noreturn]] void throw_last_error(const std::string& what) {
  throw std::system_error(last_error(), std::system_category(), what);
}

// ----- Socket

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

template <class T>
void set_option(native_handle_type handle, int level, int option, T value, std::string_view name) {
  if (::setsockopt(handle, level, option, reinterpret_cast<const char*>(&value), sizeof value) !=
      0) {
    throw_last_error(fmt::format("set {} of socket {}", name, handle));
  }
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

// ----- Address

constexpr std::size_t unix_path_offset = offsetof(sockaddr_un, sun_path);

constexpr std::size_t port_offset = offsetof(sockaddr_in, sin_port);
static_assert(port_offset == offsetof(sockaddr_in6, sin6_port));

// An IPv6 address and the name of an interface; no text of an IP address is longer.
constexpr std::size_t max_ip_text = 46 + 64;

int family_of(const void* data, std::size_t size) {
  if (size == 0) return AF_UNSPEC;
  decltype(sockaddr::sa_family) family;
  if (size < offsetof(sockaddr, sa_data)) {
    throw std::invalid_argument(fmt::format("Address: {} bytes are no sockaddr", size));
  }
  std::memcpy(&family, static_cast<const std::byte*>(data) + offsetof(sockaddr, sa_family),
              sizeof family);
  return family;
}

template <class T>
T read_native(const void* data, std::size_t size) {
  if (size < sizeof(T)) {
    throw std::invalid_argument(
        fmt::format("Address: {} bytes are too few for a sockaddr of its family, which has {}",
                    size, sizeof(T)));
  }
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

// ----- names

struct AddrinfoDeleter {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddrinfoList = std::unique_ptr<addrinfo, AddrinfoDeleter>;

// getaddrinfo for stream sockets. Null if it fails, with its code in `error`.
AddrinfoList lookup(const char* host, const char* service, int family, int flags, int& error) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  error = ::getaddrinfo(host, service, &hints, &list);
  return AddrinfoList(error == 0 ? list : nullptr);
}

// Null if `ip` is not the text of an address.
AddrinfoList lookup_ip(std::string_view ip) {
  char host[max_ip_text + 1];
  // getaddrinfo takes nothing for the loopback address, and reads up to a NUL byte only.
  if (ip.empty() || ip.size() > max_ip_text || ip.find('\0') != ip.npos) return nullptr;
  host[ip.copy(host, sizeof host)] = '\0';
  int error = 0;
  return lookup(host, nullptr, AF_UNSPEC, AI_NUMERICHOST, error);
}

std::error_code resolver_error(int error) {
#ifdef EAI_SYSTEM
  if (error == EAI_SYSTEM) return {last_error(), std::system_category()};
#endif
  return {error, netutil::resolver_category()};
}

// Every different address of `host` in the resolver's order. No host: AI_PASSIVE says which.
std::vector<Address> resolve(std::string_view host, std::uint16_t port, int family, int flags) {
  // getaddrinfo would look up what stands before a NUL byte.
  int error = EAI_NONAME;
  AddrinfoList list;
  if (host.find('\0') == host.npos) {
    list = lookup(host.empty() ? nullptr : std::string(host).c_str(), std::to_string(port).c_str(),
                  family, flags, error);
  }
  if (!list) {
    throw ResolverError(resolver_error(error), fmt::format("resolve {:?} (port {})", host, port));
  }
  std::vector<Address> addresses;
  for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
    Address address = Address::from_native(entry->ai_addr, entry->ai_addrlen);
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(std::move(address));
    }
  }
  return addresses;
}

class ResolverCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "tornado.resolver"; }

  std::string message(int code) const override {
#ifdef _WIN32
    // The codes are Winsock's, and gai_strerror shares one buffer among all threads.
    return std::system_category().message(code);
#else
    return ::gai_strerror(code);
#endif
  }
};

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
    set_option(socket.native_handle(), IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
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

ResolverError::~ResolverError() = default;

// ----- Address

Address::Address(std::string_view host, std::uint16_t port) {
  const AddrinfoList list = lookup_ip(host);
  if (!list) throw std::invalid_argument(fmt::format("Address: {:?} is not an IP address", host));
  *this = from_native(list->ai_addr, list->ai_addrlen);
  const std::uint16_t network_port = htons(port);
  std::memcpy(bytes_ + port_offset, &network_port, sizeof network_port);
}

Address Address::unix_path(std::string_view path) {
  sockaddr_un native{};
  const bool is_abstract = path.starts_with('\0');
  // A file name leaves room for the NUL byte that systems other than Linux ask for.
  const std::size_t limit = sizeof native.sun_path - (is_abstract ? 0 : 1);
  if (path.empty()) throw std::invalid_argument("Address: the path of a Unix socket is empty");
  if (path.size() > limit) {
    throw std::invalid_argument(
        fmt::format("Address: {:?} has {} bytes, and the path of a Unix socket at most {}", path,
                    path.size(), limit));
  }
  if (!is_abstract && path.find('\0') != path.npos) {
    throw std::invalid_argument(fmt::format("Address: the path {:?} contains a NUL byte", path));
  }
  native.sun_family = AF_UNIX;
  path.copy(native.sun_path, sizeof native.sun_path);
  Address address;
  address.assign(&native, unix_path_offset + path.size());
  return address;
}

// Keeps only what means something: padding, the length that BSD puts first and what stands behind a
// file name would make equal addresses differ.
Address Address::from_native(const void* data, std::size_t size) {
  Address address;
  switch (family_of(data, size)) {
    case AF_INET: {
      const auto native = read_native<sockaddr_in>(data, size);
      sockaddr_in clean{};
      clean.sin_family = AF_INET;
      clean.sin_port = native.sin_port;
      clean.sin_addr = native.sin_addr;
      address.assign(&clean, sizeof clean);
      break;
    }
    case AF_INET6: {
      const auto native = read_native<sockaddr_in6>(data, size);
      sockaddr_in6 clean{};
      clean.sin6_family = AF_INET6;
      clean.sin6_port = native.sin6_port;
      clean.sin6_flowinfo = native.sin6_flowinfo;
      clean.sin6_addr = native.sin6_addr;
      clean.sin6_scope_id = native.sin6_scope_id;
      address.assign(&clean, sizeof clean);
      break;
    }
    case AF_UNIX: {
      sockaddr_un clean{};
      const std::size_t length = std::min(size - unix_path_offset, sizeof clean.sun_path);
      clean.sun_family = AF_UNIX;
      std::memcpy(clean.sun_path, static_cast<const std::byte*>(data) + unix_path_offset, length);
      std::string_view path(clean.sun_path, length);
      if (!path.starts_with('\0')) path = path.substr(0, path.find('\0'));
      address.assign(&clean, unix_path_offset + path.size());
      break;
    }
    case AF_UNSPEC:
      break;
    default:
      address.assign(data, size);
  }
  return address;
}

void Address::assign(const void* data, std::size_t size) {
  if (size <= inline_size) {
    std::memcpy(bytes_, data, size);
  } else {
    overflow_ = std::make_shared<const std::string>(static_cast<const char*>(data), size);
  }
  size_ = static_cast<std::uint32_t>(size);
}

const void* Address::data() const noexcept {
  return overflow_ ? static_cast<const void*>(overflow_->data()) : bytes_;
}

int Address::family() const noexcept { return size_ == 0 ? AF_UNSPEC : family_of(data(), size_); }

std::string Address::host() const {
  if (family() != AF_INET && family() != AF_INET6) return {};
  char host[max_ip_text + 1];
  const int error =
      ::getnameinfo(static_cast<const sockaddr*>(data()), static_cast<socklen_t>(size_), host,
                    sizeof host, nullptr, 0, NI_NUMERICHOST);
  if (error != 0) throw ResolverError(resolver_error(error), "write an IP address as text");
  return host;
}

std::uint16_t Address::port() const noexcept {
  if (family() != AF_INET && family() != AF_INET6) return 0;
  std::uint16_t network_port;
  std::memcpy(&network_port, bytes_ + port_offset, sizeof network_port);
  return ntohs(network_port);
}

std::string_view Address::path() const noexcept {
  if (family() != AF_UNIX) return {};
  return {static_cast<const char*>(data()) + unix_path_offset, size_ - unix_path_offset};
}

std::string Address::str() const {
  switch (family()) {
    case AF_UNSPEC:
      return {};
    case AF_INET:
      return fmt::format("{}:{}", host(), port());
    case AF_INET6:
      return fmt::format("[{}]:{}", host(), port());
    case AF_UNIX: {
      std::string text = fmt::format("unix:{}", path());
      std::replace(text.begin(), text.end(), '\0', '@');
      return text;
    }
    default:
      return fmt::format("an address of family {}", family());
  }
}

bool operator==(const Address& a, const Address& b) noexcept { return (a <=> b) == 0; }

std::strong_ordering operator<=>(const Address& a, const Address& b) noexcept {
  const auto bytes = [](const Address& address) {
    return std::string_view(static_cast<const char*>(address.data()), address.size());
  };
  return bytes(a) <=> bytes(b);
}

// ----- Socket

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
  const std::error_code error(last_error(), std::system_category());
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
    const int error = last_error();
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

// ----- functions

namespace netutil {

const std::error_category& resolver_category() noexcept {
  // Never destroyed: a lookup may fail on its thread while the program exits.
  alignas(ResolverCategory) static std::byte memory[sizeof(ResolverCategory)];
  static const ResolverCategory& category = *::new (memory) ResolverCategory;
  return category;
}

std::vector<Socket> bind_sockets(std::uint16_t port, std::string_view address,
                                 const BindOptions& options) {
  // Sorted as they come: libstdc++ 12's std::stable_sort uses what C++17 deprecates, and clang 19
  // says so.
  const auto by_family = [](const Address& a, const Address& b) { return a.family() < b.family(); };
  std::vector<Address> addresses;
  for (Address& each : resolve(address, port, options.family, options.flags.value_or(AI_PASSIVE))) {
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

bool is_valid_ip(std::string_view ip) noexcept { return lookup_ip(ip) != nullptr; }

}  // namespace netutil

std::vector<Address> detail::look_up(std::string_view host, std::uint16_t port, int family) {
  if (host.empty()) {  // all interfaces, to resolve()
    throw ResolverError(resolver_error(EAI_NONAME),
                        fmt::format("resolve {:?} (port {})", host, port));
  }
  return resolve(host, port, family, 0);
}

}  // namespace tornado
