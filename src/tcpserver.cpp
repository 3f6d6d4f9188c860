// SPDX-License-Identifier: Apache-2.0
#include "tornado/tcpserver.hpp"

#include "stream_core.hpp"
#include "tls_backend.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>

namespace tornado {

/// What is being handled, in the order in which it came. A connection may outlive its server by a
/// turn, but is linked no more then.
struct TCPServer::Connections {
  class Link : public detail::Hook {};
  detail::List<Link> links;
  std::size_t count = 0;
};

/// Waits for the end of handle_stream.
class TCPServer::Connection final : public detail::StateCallback, public Connections::Link {
 public:
  Connection(Connections& connections, const IOStream& stream, Address peer)
      : StateCallback(detail::node_type<&on_event, Kind::callback>),
        connections_(connections),
        stream_(detail::StreamCore::share(stream)),
        peer_(std::move(peer)) {
    connections_.links.push_back(*this);
    ++connections_.count;
  }

  /// Takes over what handle_stream returned; destroys this, now or when that is done.
  void wait_for(const Future<void>& done) {
    target = detail::Access::state(done);
    if (!done.done()) {
      target->add_waiter(*this);
      return;
    }
    target->add_ref();
    on_event(this, Event::run);
  }
  void close() noexcept {
    forget();
    const auto stream = std::move(stream_);
    if (target != nullptr) detail::destroy_coroutine(*target);
    if (stream) stream->close({});
  }

 private:
  static void on_event(Node* node, Event event) noexcept {
    const std::unique_ptr<Connection> self(static_cast<Connection*>(node));
    self->forget();
    if (event == Event::drop || self->target->status() != detail::Status::error) return;
    try {
      log::log_exception(log::app_log,
                         fmt::format("Error in handle_stream of {}", self->peer_.str()),
                         self->target->look());
    } catch (...) {
      detail::report_callback_exception();
    }
  }
  void forget() noexcept {
    Connections::Link& link = *this;
    if (!link.linked()) return;
    link.unlink();
    --connections_.count;
  }

  Connections& connections_;                // there while this is linked
  detail::Ref<detail::StreamCore> stream_;  // not a handle: does not keep it open
  Address peer_;
};

/// A listening socket, and the end of accepting on it.
class TCPServer::Listener {
 public:
  Listener(TCPServer& server, Socket socket)
      : socket_(std::move(socket)),
        stop_(netutil::add_accept_handler(
            socket_, [&server](Socket connection, const Address& address) {
              server.handle_connection(std::move(connection), address);
            })) {}
  ~Listener() { stop_(); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  Address address() const { return socket_.local_address(); }

 private:
  Socket socket_;
  std::function<void()> stop_;
};

TCPServer::TCPServer(const IOStreamOptions& stream_options)
    : stream_options_(stream_options), connections_(std::make_shared<Connections>()) {}

TCPServer::TCPServer(const SSLContext& ssl_options, const IOStreamOptions& stream_options)
    : TCPServer(stream_options) {
  if (!ssl_options) throw std::invalid_argument("TCPServer: the SSLContext is none");
  detail::require_side(ssl_options, ServerSide::yes);
  ssl_options_ = ssl_options;
}

TCPServer::~TCPServer() {
  stop();
  close_all_connections();
}

void TCPServer::listen(std::uint16_t port, std::string_view address, const BindOptions& options) {
  add_sockets(netutil::bind_sockets(port, address, options));
}

void TCPServer::bind(std::uint16_t port, std::string_view address, const BindOptions& options) {
  for (Socket& socket : netutil::bind_sockets(port, address, options)) {
    bound_.push_back(std::move(socket));
  }
}

void TCPServer::start(int num_processes) {
  if (num_processes != 1) {
    throw std::invalid_argument(
        fmt::format("TCPServer::start: {} processes were asked for, only 1 is supported; let each "
                    "process listen with BindOptions::reuse_port instead",
                    num_processes));
  }
  add_sockets(std::exchange(bound_, {}));
}

void TCPServer::add_sockets(std::vector<Socket> sockets) {
  for (Socket& socket : sockets) add_socket(std::move(socket));
}

void TCPServer::add_socket(Socket socket) {
  listeners_.push_back(std::make_unique<Listener>(*this, std::move(socket)));
}

void TCPServer::stop() {
  listeners_.clear();
  bound_.clear();
}

void TCPServer::close_all_connections() {
  const auto connections = connections_;  // what is closed may destroy the server
  // Those that are there now; what is closed may make others.
  detail::List<Connections::Link> links;
  links.splice(connections->links);
  while (!links.empty()) static_cast<Connection&>(links.back()).close();
}

std::vector<Address> TCPServer::addresses() const {
  std::vector<Address> result;
  result.reserve(listeners_.size() + bound_.size());
  for (const auto& listener : listeners_) result.push_back(listener->address());
  for (const Socket& socket : bound_) result.push_back(socket.local_address());
  return result;
}

std::size_t TCPServer::connections() const noexcept { return connections_->count; }

Future<void> TCPServer::handle_stream(IOStream, Address) {
  throw std::logic_error("TCPServer::handle_stream has to be overridden");
}

void TCPServer::handle_connection(Socket socket, const Address& address) {
  IOStream stream;
  if (ssl_options_) {
    stream = SSLIOStream(std::move(socket), ServerSide::yes, ssl_options_, stream_options_);
  } else {
    stream = IOStream(std::move(socket), stream_options_);
  }
  auto connection = std::make_unique<Connection>(*connections_, stream, address);
  Future<void> done;
  try {
    done = handle_stream(std::move(stream), address);
  } catch (...) {
    done.set_exception(std::current_exception());
  }
  connection.release()->wait_for(done);
}

}  // namespace tornado
