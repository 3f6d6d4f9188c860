// SPDX-License-Identifier: Apache-2.0
//
// tornado/tcpclient.hpp: connecting to a host by its name.
//
// A TCPClient may be used by any coroutine of the current IOLoop.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/iostream.hpp"
#include "tornado/util.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tornado {

/// Python's keyword arguments of TCPClient.connect.
struct ConnectOptions {
  int family = 0;                   ///< AF_INET or AF_INET6; 0 (AF_UNSPEC) for both.
  std::string_view source_ip = {};  ///< The local address to connect from; empty for any.
  std::uint16_t source_port = 0;    ///< The local port to connect from; 0 for any.
  /// For the whole of it, looking up the name included; none for no limit.
  std::optional<Deadline> timeout = std::nullopt;
  IOStreamOptions stream = {};  ///< For the stream.
};

/// Connects to the first address of a host that answers. Python: `tornado.tcpclient.TCPClient`.
///
///     TCPClient client;
///     IOStream stream = co_await client.connect("localhost", 8888);
///
/// The addresses of the family that the resolver names first are tried one after the other; those
/// of the other family from 0.3 s on, or as soon as the first attempt fails, beside them (RFC 6555,
/// "happy eyeballs"). The first to answer wins; the other attempts are closed.
class TORNADO_EXPORT TCPClient {
 public:
  TCPClient() noexcept;

  /// \param host     a name, or an IP address; copied.
  /// \param options  copied.
  /// \par Fails with
  ///   `ResolverError` when the name cannot be resolved; `StreamClosedError` of the last attempt
  ///   when none succeeds; `TimeoutError`; `std::system_error` naming the source address when that
  ///   cannot be used.
  ///
  /// Cancelling it closes all attempts.
  [[nodiscard]] Future<IOStream> connect(std::string_view host, std::uint16_t port,
                                         const ConnectOptions& options = {}) const;
};

}  // namespace tornado
