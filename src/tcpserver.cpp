// SPDX-License-Identifier: Apache-2.0
#include "tornado/tcpserver.hpp"

#include "stream_core.hpp"
#include "tls_backend.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <utility>

namespace tornado {
namespace {

void log_failure(const Future<void>& future, const Address& peer) {
  if (future.cancelled()) return;
  if (const std::exception_ptr error = future.exception()) {
    log::log_exception(log::app_log, fmt::format("Error in handle_stream of {}", peer.str()),
                       error);
  }
}

}  // namespace

/// What is being handled, in the order in which it came. Shared with the callbacks that take
/// entries out, which may outlive the server by a turn.
struct TCPServer::Connections {
  struct Entry {
    detail::Ref<detail::StateBase> done;  // null while the call of handle_stream has not returned
    detail::Ref<detail::StreamCore> stream;  // not a handle: does not keep it open
  };
  std::map<std::uint64_t, Entry> entries;
  std::uint64_t accepted = 0;
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
  auto entries = std::exchange(connections_->entries, {});
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->second.done) detail::destroy_coroutine(*entry->second.done);
    entry->second.stream->close({});
  }
}

std::vector<Address> TCPServer::addresses() const {
  std::vector<Address> result;
  result.reserve(listeners_.size() + bound_.size());
  for (const auto& listener : listeners_) result.push_back(listener->address());
  for (const Socket& socket : bound_) result.push_back(socket.local_address());
  return result;
}

std::size_t TCPServer::connections() const noexcept { return connections_->entries.size(); }

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
  // What handle_stream does may take the entry out again, or destroy the server.
  const std::shared_ptr<Connections> connections = connections_;
  const std::uint64_t number = connections->accepted++;
  connections->entries[number].stream = detail::StreamCore::share(stream);
  Future<void> done;
  try {
    done = handle_stream(std::move(stream), address);
  } catch (...) {
    done.set_exception(std::current_exception());
  }
  if (done.done()) {
    connections->entries.erase(number);
    log_failure(done, address);
    return;
  }
  const auto entry = connections->entries.find(number);
  if (entry != connections->entries.end()) entry->second.done = detail::share(done);
  done.add_done_callback([connections, number, address](const Future<void>& future) {
    connections->entries.erase(number);
    log_failure(future, address);
  });
}

}  // namespace tornado
