// SPDX-License-Identifier: Apache-2.0
//
// tornado/netutil.hpp: addresses, sockets, sockets that listen, and the resolving of names.
//
// An Address is a value. A Socket has one owner and is not synchronised. The functions may be
// called from any thread, and need no IOLoop; add_accept_handler and Resolver use the current one.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/detail/chrono.hpp"
#include "tornado/detail/export.hpp"
#include "tornado/detail/functional.hpp"
#include "tornado/util.hpp"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace tornado {

namespace detail {
class SocketAccess;
}  // namespace detail

/// A name could not be resolved; the message says which. `code()` is in
/// `netutil::resolver_category()`, or in `std::system_category()` where the system itself failed.
/// Python: `socket.gaierror`.
class TORNADO_EXPORT ResolverError : public IOError {
 public:
  using IOError::IOError;
  ~ResolverError() override;
};

/// Where a socket is: an IPv4, IPv6 or Unix address. Small, copied cheaply, compared by value.
///
///     Address("127.0.0.1", 8888).str()         // "127.0.0.1:8888"
///     Address("::1", 8888).str()               // "[::1]:8888"
///     Address::unix_path("/run/app.sock").str()  // "unix:/run/app.sock"
///
/// Python: the `(host, port)` tuple or the path that the socket module uses.
class TORNADO_EXPORT Address {
 public:
  /// No address: the family is AF_UNSPEC (0), everything else is empty.
  Address() noexcept = default;

  /// \param host  an IPv4 or IPv6 address as `is_valid_ip` accepts it, the latter also with a scope
  ///              (`fe80::1%eth0`). Names are a Resolver's work.
  /// \param port  in host byte order; 0 lets the system choose when bound.
  /// \throws std::invalid_argument  if `host` is not an address, naming it.
  Address(std::string_view host, std::uint16_t port);

  /// A Unix domain address.
  ///
  /// \param path  a file name, or, where it begins with a NUL byte, a name in Linux's abstract
  ///              namespace.
  /// \throws std::invalid_argument  if it is empty, too long (107 bytes on Linux, 103 on BSD and
  ///     macOS), or a file name that contains a NUL.
  static Address unix_path(std::string_view path);

  /// What `accept`, `getsockname` and the like wrote.
  ///
  /// \param data  a `sockaddr` of any family, copied; need not be aligned.
  /// \param size  its length in bytes; 0 gives no address.
  /// \throws std::invalid_argument  if that is too short for the family.
  static Address from_native(const void* data, std::size_t size);

  /// AF_INET, AF_INET6, AF_UNIX or whatever else `from_native` was given.
  int family() const noexcept;

  /// The IP address, with its scope if it has one; empty in other families.
  std::string host() const;

  /// The port in host byte order; 0 in families without one.
  std::uint16_t port() const noexcept;

  /// The file name or, with a NUL byte in front, the abstract name. Empty for an unnamed Unix
  /// socket, such as most clients are, and in other families.
  std::string_view path() const noexcept;

  /// For people: "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:@abstract", "unix:" for an unnamed
  /// one.
  std::string str() const;

  /// The address as a `sockaddr`, for system calls. Never null; valid as long as this object.
  const void* data() const noexcept;
  std::size_t size() const noexcept { return size_; }

  friend TORNADO_EXPORT bool operator==(const Address& a, const Address& b) noexcept;
  /// A total order without a meaning, for maps and sets.
  friend TORNADO_EXPORT std::strong_ordering operator<=>(const Address& a,
                                                         const Address& b) noexcept;

 private:
  void assign(const void* data, std::size_t size);

  static constexpr std::size_t inline_size = 28;  // sockaddr_in6
  alignas(std::uint64_t) std::byte bytes_[inline_size] = {};
  std::uint32_t size_ = 0;
  // The bytes where there is no room for them above (a long Unix path); shared by copies.
  std::shared_ptr<const std::string> overflow_;
};

/// Owns the native handle of a socket, which is always non-blocking and close-on-exec.
///
///     Socket socket = Socket::tcp(AF_INET);
///     socket.set_reuse_address(true);
///     socket.bind(Address("0.0.0.0", 8888));
///     socket.listen();
///
/// Destroying it closes the handle. Where the system refuses, the calls throw `std::system_error`
/// in `std::system_category()`, and the message names what was asked ("bind to 127.0.0.1:80: …");
/// on a closed Socket that is EBADF. Python: `socket.socket`.
class TORNADO_EXPORT Socket {
 public:
  static constexpr native_handle_type invalid_handle = static_cast<native_handle_type>(-1);

  /// A closed one.
  Socket() noexcept = default;

  /// Takes over an open socket and makes it non-blocking and close-on-exec. If that throws, the
  /// handle is still the caller's.
  explicit Socket(native_handle_type handle);

  /// A new TCP socket. \param family  AF_INET or AF_INET6.
  static Socket tcp(int family);

  /// A new Unix stream socket.
  static Socket unix_stream();

  ~Socket() { close(); }

  Socket(Socket&& other) noexcept : handle_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept;

  bool is_open() const noexcept { return handle_ != invalid_handle; }

  /// The handle, still owned by this object; `invalid_handle` if closed.
  native_handle_type native_handle() const noexcept { return handle_; }

  /// Hands the handle over to the caller, who closes it. Python: `detach`.
  [[nodiscard]] native_handle_type release() noexcept {
    return std::exchange(handle_, invalid_handle);
  }

  /// Harmless if closed already.
  void close() noexcept;

  void bind(const Address& address);

  /// \param backlog  connections that may wait to be accepted, 0 or more; the system has its own
  ///                 limit.
  void listen(int backlog = 128);

  /// Takes the next connection that waits; none if there is none. A connection that was aborted
  /// while it waited is skipped. Python: `accept`, which throws BlockingIOError for none.
  std::optional<std::pair<Socket, Address>> accept();

  /// Python: `getsockname`.
  Address local_address() const;

  /// Python: `getpeername`.
  Address remote_address() const;

  /// SO_ERROR: what went wrong since the last call, such as in connecting; reading it clears it.
  std::error_code error();

  /// SO_REUSEADDR: bind although earlier connections of the port linger in TIME_WAIT.
  void set_reuse_address(bool on);
  bool reuse_address() const;

  /// SO_REUSEPORT: several processes listen on one port. `std::errc::operation_not_supported`
  /// where the platform has no such option.
  void set_reuse_port(bool on);
  bool reuse_port() const;

  /// TCP_NODELAY: small packets leave at once (no Nagle algorithm). Python: `IOStream.set_nodelay`.
  void set_nodelay(bool on);
  bool nodelay() const;

  /// SO_KEEPALIVE: notice a dead peer on an idle connection.
  void set_keepalive(bool on);
  bool keepalive() const;

  /// SO_SNDBUF and SO_RCVBUF, in bytes. The kernel rounds and limits; Linux doubles them.
  void set_send_buffer_size(int bytes);
  int send_buffer_size() const;
  void set_receive_buffer_size(int bytes);
  int receive_buffer_size() const;

  /// SO_LINGER: how long the system goes on sending after the close; zero resets the connection
  /// instead, none is the system's default.
  void set_linger(std::optional<std::chrono::seconds> timeout);
  std::optional<std::chrono::seconds> linger() const;

  /// Any other option whose value is an int, with the constants of the system's headers.
  void setsockopt(int level, int option, int value);
  int getsockopt(int level, int option) const;

 private:
  friend class detail::SocketAccess;
  native_handle_type handle_ = invalid_handle;
};

/// How `netutil::bind_sockets` and TCPServer listen.
struct BindOptions {
  int family = 0;                 ///< AF_INET or AF_INET6; 0 (AF_UNSPEC) for both.
  int backlog = 128;              ///< As for `Socket::listen`.
  std::optional<int> flags = {};  ///< AI_ flags of getaddrinfo; AI_PASSIVE if none are given.
  bool reuse_port = false;        ///< SO_REUSEPORT, or an error where that cannot be had.
};

namespace netutil {

using tornado::Address;
using tornado::BindOptions;
using tornado::native_handle_type;
using tornado::ResolverError;
using tornado::Socket;

/// The category of getaddrinfo's codes (EAI_NONAME and so on).
TORNADO_EXPORT const std::error_category& resolver_category() noexcept;

/// Listens on every address that `address` stands for. Blocks while a name is resolved.
///
/// \param port     0 lets the system choose one, the same for all families.
/// \param address  an IP address, a host name, or nothing for all interfaces.
/// \returns  the listening sockets, IPv4 before IPv6, one for each different address; never none.
///     IPv6 sockets take IPv6 connections only.
/// \throws ResolverError  if `address` cannot be resolved, naming it.
/// \throws std::system_error  naming the address and the port, if one of them cannot be had. A
///     family that the system does not have is passed over, and so is the ::1 of "localhost" where
///     IPv6 is switched off; it is an error if that leaves nothing.
TORNADO_EXPORT std::vector<Socket> bind_sockets(std::uint16_t port, std::string_view address = {},
                                                const BindOptions& options = {});

/// Listens on a Unix domain socket.
///
/// A socket of that name that nobody listens on any more is removed first. Python removes it even
/// while another server uses it.
///
/// \param path     a file name, or an abstract name that begins with a NUL byte.
/// \param mode     permissions of the file: who may write may connect. Not used for abstract names.
/// \param backlog  as for `Socket::listen`.
/// \throws std::system_error  naming the path: EADDRINUSE if a server is listening there, EEXIST if
///     something else has that name, and whatever the system says.
/// \throws std::invalid_argument  as `Address::unix_path` does.
TORNADO_EXPORT Socket bind_unix_socket(std::string_view path, unsigned mode = 0600,
                                       int backlog = 128);

/// Whether `ip` is an IPv4 or IPv6 address, nothing before or after it.
TORNADO_EXPORT bool is_valid_ip(std::string_view ip) noexcept;

/// Calls `callback` with each connection that comes in on a listening socket, from the current
/// loop. Each time the socket is ready, up to 128 are taken, so that the others get their turn.
///
/// When descriptors or memory run out, that is logged once, and accepting is tried again every
/// 100 ms; until then connections wait in the backlog.
///
/// \param socket    stays the caller's, and open until accepting was stopped.
/// \param callback  an exception from it is logged.
/// \returns  a function that stops accepting at once; harmless when called again.
TORNADO_EXPORT std::function<void()> add_accept_handler(
    Socket& socket, std::function<void(Socket, Address)> callback);

}  // namespace netutil

/// Finds the addresses of a host. Derive from it to make one of your own.
/// Python: `tornado.netutil.Resolver`.
///
///     Resolver resolver;
///     std::vector<Address> addresses = co_await resolver.resolve("localhost", 80);
///
/// This one asks the system, by getaddrinfo, on threads of its own: up to 4, which all Resolvers
/// share, and which end when they have nothing to do. A lookup that hangs delays neither the loop,
/// nor the other threads, nor the end of the program.
class TORNADO_EXPORT Resolver {
 public:
  Resolver() noexcept;
  /// Lookups go on without it.
  virtual ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// The addresses of `host`, in the order in which they are to be tried: one or more.
  ///
  /// \param host    a name or an IP address; the latter needs no thread, and is done at once.
  /// \param port    for the addresses.
  /// \param family  AF_INET or AF_INET6; 0 (AF_UNSPEC) for both.
  /// \par Fails with
  ///   `ResolverError`, naming the host.
  ///
  /// Cancelling it abandons the lookup.
  [[nodiscard]] virtual Future<std::vector<Address>> resolve(std::string host, std::uint16_t port,
                                                             int family = 0);
};

/// Asks another Resolver, but for some hosts asks it for others. Python:
/// `tornado.netutil.OverrideResolver`.
///
///     OverrideResolver resolver(std::make_shared<Resolver>(), {
///         {"example.com", "127.0.1.1"},
///         {{"login.example.com", 443}, {"localhost", 1443}},
///         {{"login.example.com", 443, AF_INET6}, {"::1", 1443}},
///     });
///
/// An entry for host, port and family goes before one for host and port, and that before one for
/// the host alone. Names are compared as they are written.
class TORNADO_EXPORT OverrideResolver : public Resolver {
 public:
  /// To the left, which questions an entry is for; to the right, what is asked instead. What is
  /// left out matches any, or stays as it was.
  class Query {
   public:
    Query(const char* name) : host(name) {}
    Query(std::string name) : host(std::move(name)) {}
    Query(std::string name, std::uint16_t number) : host(std::move(name)), port(number) {}
    Query(std::string name, std::uint16_t number, int af)
        : host(std::move(name)), port(number), family(af) {}

    std::string host;
    std::optional<std::uint16_t> port;
    std::optional<int> family;

    friend TORNADO_EXPORT std::strong_ordering operator<=>(const Query&, const Query&) noexcept;
    friend TORNADO_EXPORT bool operator==(const Query&, const Query&) noexcept;
  };
  using Mapping = std::map<Query, Query>;

  /// \throws std::invalid_argument  if `resolver` is null.
  OverrideResolver(std::shared_ptr<Resolver> resolver, Mapping mapping);
  ~OverrideResolver() override;

  [[nodiscard]] Future<std::vector<Address>> resolve(std::string host, std::uint16_t port,
                                                     int family = 0) override;

 private:
  std::shared_ptr<Resolver> resolver_;
  Mapping mapping_;
};

namespace netutil {
using tornado::OverrideResolver;
using tornado::Resolver;
}  // namespace netutil

}  // namespace tornado
