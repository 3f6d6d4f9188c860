// SPDX-License-Identifier: Apache-2.0
//
// tornado/tcpclient.hpp: connecting to a host by its name.
//
// A TCPClient may be used by any coroutine of the current IOLoop.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/iostream.hpp"
#include "tornado/netutil.hpp"
#include "tornado/ssl.hpp"
#include "tornado/util.hpp"

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace tornado {

/// Python's keyword arguments of TCPClient.connect.
struct ConnectOptions {
  int family = 0;  ///< AF_INET or AF_INET6; 0 (AF_UNSPEC) for both.
  /// The local address to connect from, whose family is then the only one; empty for any.
  std::string_view source_ip = {};
  /// The local port to connect from; 0 for any. Without source_ip Python connects from the loopback
  /// interface then, here the system chooses.
  std::uint16_t source_port = 0;
  /// For all of it, looking up the name included; none for no limit.
  std::optional<Deadline> timeout = std::nullopt;
  IOStreamOptions stream = {};  ///< For the stream.
};

/// Connects to the first address of a host that answers. Python: `tornado.tcpclient.TCPClient`.
///
///     TCPClient client;
///     IOStream stream = co_await client.connect("localhost", 8888);
///
/// The addresses of the family that the resolver names first are tried one after the other. Beside
/// them, likewise, those of the other family: from 0.3 s on, or as soon as the first attempt has
/// failed (RFC 6555, "happy eyeballs"). The first to answer wins; the other attempts are closed.
class TORNADO_EXPORT TCPClient {
 public:
  /// Asks the system for addresses.
  TCPClient();
  /// \param resolver  shared with the connects that go on.
  /// \throws std::invalid_argument  if it is null.
  explicit TCPClient(std::shared_ptr<Resolver> resolver);

  /// \param host     a name, or an IP address; copied.
  /// \param options  copied.
  /// \throws std::invalid_argument  if source_ip is not an IP address.
  /// \par Fails with
  ///   what the resolver fails with, `ResolverError` as a rule; `StreamClosedError` of the last
  ///   attempt when none succeeds, `real_error` of which says why: a source address that cannot be
  ///   used, too; `TimeoutError`. The message says what was asked.
  ///
  /// Cancelling it closes all attempts.
  [[nodiscard]] Future<IOStream> connect(std::string_view host, std::uint16_t port,
                                         const ConnectOptions& options = {}) const;
  /// The same with TLS, with `host` as the server_hostname. Python: `ssl_options`.
  ///
  ///     SSLIOStream stream = co_await client.connect("example.com", 443, SSLContext());
  ///
  /// \param ssl_options  a client's context, none for `SSLContext::client()`; or SSLOptions.
  /// \throws std::invalid_argument  also when the context is for servers.
  /// \par Fails with
  ///   also `StreamClosedError`, as SSLIOStream::connect, when the handshake with the address that
  ///   answered first fails; no other is tried then.
  [[nodiscard]] Future<SSLIOStream> connect(std::string_view host, std::uint16_t port,
                                            const SSLContext& ssl_options,
                                            const ConnectOptions& options = {}) const;
  [[nodiscard]] Future<SSLIOStream> connect(std::string_view host, std::uint16_t port,
                                            const std::same_as<SSLOptions> auto& ssl_options,
                                            const ConnectOptions& options = {}) const {
    return connect(host, port, netutil::ssl_options_to_context(ssl_options, ServerSide::no),
                   options);
  }

 private:
  std::shared_ptr<Resolver> resolver_;
};

}  // namespace tornado
