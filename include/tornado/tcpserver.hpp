// SPDX-License-Identifier: Apache-2.0
//
// tornado/tcpserver.hpp: a server of TCP or Unix connections.
//
// A TCPServer belongs to the IOLoop that is current when it begins to accept.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/iostream.hpp"
#include "tornado/netutil.hpp"
#include "tornado/ssl.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace tornado {

/// Accepts connections and gives each to `handle_stream`. Python: `tornado.tcpserver.TCPServer`.
///
///     class EchoServer : public TCPServer {
///       Future<void> handle_stream(IOStream stream, Address) override {
///         try {
///           for (;;) {
///             std::string line = co_await stream.read_until("\n");
///             co_await stream.write(line);
///           }
///         } catch (const StreamClosedError&) {
///         }
///       }
///     };
///
///     EchoServer server;
///     server.listen(8888);
///     IOLoop::current().start();
class TORNADO_EXPORT TCPServer {
 public:
  /// Touches no loop, nor does `bind`.
  ///
  /// \param stream_options  for the streams of the connections.
  explicit TCPServer(const IOStreamOptions& stream_options = {});
  /// The same with TLS. `handle_stream` gets an SSLIOStream whose handshake has begun; what it
  /// reads and writes waits for the end of that. `SSLIOStream(stream).wait_for_handshake()` does so
  /// too.
  ///
  /// \param ssl_options  a server's context, or SSLOptions.
  /// \throws std::invalid_argument  when the context is none, or for clients.
  explicit TCPServer(const SSLContext& ssl_options, const IOStreamOptions& stream_options = {});
  explicit TCPServer(const std::same_as<SSLOptions> auto& ssl_options,
                     const IOStreamOptions& stream_options = {})
      : TCPServer(netutil::ssl_options_to_context(ssl_options, ServerSide::yes), stream_options) {}

  /// Stops accepting, and destroys what is left of the connections, as `close_all_connections`
  /// does. That is too late for coroutines that use members of a derived class: its own destructor
  /// calls `close_all_connections` itself.
  virtual ~TCPServer();

  TCPServer(const TCPServer&) = delete;
  TCPServer& operator=(const TCPServer&) = delete;

  /// Begins to accept on `port`: `bind` and `start` in one.
  ///
  /// \param port, address, options  as for `netutil::bind_sockets`, whose errors it throws.
  void listen(std::uint16_t port, std::string_view address = {}, const BindOptions& options = {});
  /// Listens, but does not accept before `start`.
  void bind(std::uint16_t port, std::string_view address = {}, const BindOptions& options = {});
  /// Accepts on what was bound.
  ///
  /// \param num_processes  1: this process. Others are not supported, and throw
  ///                       std::invalid_argument.
  void start(int num_processes = 1);
  /// Accepts on sockets that listen already, such as `netutil::bind_unix_socket` makes.
  void add_sockets(std::vector<Socket> sockets);
  void add_socket(Socket socket);
  /// Closes the listening sockets. Connections go on. Harmless when called again.
  void stop();

  /// Destroys the coroutines of the connections that are being handled, the newest first, each with
  /// those that it alone waits for, and closes their streams. A coroutine from which this is
  /// called, and those that wait for it, go on without their stream.
  void close_all_connections();

  /// The addresses it listens on.
  std::vector<Address> addresses() const;
  /// Connections whose `handle_stream` has not ended.
  std::size_t connections() const noexcept;

 protected:
  /// Handles one connection, most often as a coroutine, which is kept alive until it ends. An
  /// exception from it is logged, and the server goes on. When it ends, and no handle to the stream
  /// is kept elsewhere, the stream is closed, after what was written to it has been sent.
  ///
  /// A coroutine uses `this`: see the destructor.
  ///
  /// \param address  of the other end.
  virtual Future<void> handle_stream(IOStream stream, Address address);

 private:
  class Connection;
  struct Connections;
  class Listener;

  void handle_connection(Socket socket, const Address& address);

  IOStreamOptions stream_options_;
  SSLContext ssl_options_;  // none: no TLS
  std::vector<Socket> bound_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::shared_ptr<Connections> connections_;
};

}  // namespace tornado
