// SPDX-License-Identifier: Apache-2.0
#include "tornado/tcpclient.hpp"

#include "tls_backend.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#ifdef _WIN32
#define NOMINMAX 1
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <netinet/in.h>
#include <sys/socket.h>
#endif

namespace tornado {

using namespace std::chrono_literals;

namespace {

// After this the addresses of the other family are tried as well.
constexpr auto initial_connect_timeout = 300ms;

/// What connect() was asked for, without the views.
struct Request {
  std::string host;
  std::uint16_t port;
  int family;
  Address source;             // none: see source_port
  std::uint16_t source_port;  // 0: any
  IOStreamOptions stream;

  std::string str() const {
    const bool ipv6 = host.find(':') != host.npos;
    return fmt::format("connect to {}:{}", ipv6 ? fmt::format("[{}]", host) : host, port);
  }
  std::string str(const Address& address) const {
    std::string text = str();
    if (address.host() != host) text += fmt::format(" ({})", address.str());
    if (source.size() > 0) {
      text += fmt::format(" from {}", source.str());
    } else if (source_port != 0) {
      text += fmt::format(" from port {}", source_port);
    }
    return text;
  }
};

/// A socket of the address's family, bound to the source that was asked for.
Socket open_socket(const Request& request, const Address& address) {
  if (address.family() == AF_UNIX) return Socket::unix_stream();
  Socket socket = Socket::tcp(address.family());
  if (request.source.size() > 0) {
    socket.bind(request.source);
  } else if (request.source_port != 0) {
    const bool ipv6 = address.family() == AF_INET6;
    // Or it would take the port from an attempt with IPv4.
    if (ipv6) socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1);
    socket.bind(Address(ipv6 ? "::" : "0.0.0.0", request.source_port));
  }
  return socket;
}

/// "Happy eyeballs", RFC 6555. Python: `_Connector`.
///
/// Shared with the callbacks of the attempts, which may come a little after stop().
class Connector : public std::enable_shared_from_this<Connector> {
 public:
  /// \param addresses  one or more.
  Connector(Request request, const std::vector<Address>& addresses)
      : request_(std::move(request)), remaining_(addresses.size()) {
    const int primary = addresses.front().family();
    for (const Address& address : addresses) {
      (address.family() == primary ? primary_ : secondary_).addresses.push_back(address);
    }
  }

  Future<IOStream> start() {
    timeout_ = IOLoop::current().call_later(initial_connect_timeout, [this] { on_timeout(); });
    try_connect(primary_);
    return result_;
  }

  /// Closes the attempts, all but one that succeeded. From then on nothing is begun.
  void stop() noexcept {
    result_.cancel();
    clear_timeout();
    for (const Queue* queue : {&primary_, &secondary_}) {
      if (queue->attempt) queue->attempt.close();
    }
  }

 private:
  struct Queue {
    std::vector<Address> addresses;
    std::size_t next = 0;
    IOStream attempt;
  };

  void try_connect(Queue& queue) {
    if (queue.next == queue.addresses.size()) {
      // The other queue may still be at work.
      if (remaining_ == 0) result_.set_exception(last_error_);
      return;
    }
    const Address& address = queue.addresses[queue.next++];
    begin(queue, address)
        .add_done_callback(
            [self = shared_from_this(), &queue, &address](const Future<IOStream>& attempt) {
              self->on_connect_done(queue, address, attempt);
            });
  }

  Future<IOStream> begin(Queue& queue, const Address& address) {
    try {
      queue.attempt = IOStream(open_socket(request_, address), request_.stream);
      return queue.attempt.connect(address);
    } catch (...) {
      return make_exception_future<IOStream>(std::current_exception());
    }
  }

  void on_connect_done(Queue& queue, const Address& address, const Future<IOStream>& attempt) {
    --remaining_;
    const std::exception_ptr error = attempt.exception();
    if (result_.done()) return;  // too late: stop() has closed it
    if (!error) {
      result_.set_result(std::exchange(queue.attempt, IOStream()));
      return;
    }
    last_error_ = explain(error, address);
    try_connect(queue);
    // A first attempt that failed is not worth waiting for.
    if (timeout_) on_timeout();
  }

  std::exception_ptr explain(const std::exception_ptr& error, const Address& address) const {
    try {
      std::rethrow_exception(error);
    } catch (const std::system_error& e) {
      return std::make_exception_ptr(StreamClosedError(e.code(), request_.str(address)));
    } catch (...) {
      return error;
    }
  }

  void on_timeout() {
    clear_timeout();
    if (!result_.done()) try_connect(secondary_);
  }

  void clear_timeout() noexcept {
    IOLoop::current().remove_timeout(std::exchange(timeout_, Timeout()));
  }

  const Request request_;
  std::size_t remaining_;  // attempts that have not failed
  Queue primary_;
  Queue secondary_;
  Timeout timeout_;
  std::exception_ptr last_error_;
  Future<IOStream> result_;
};

class StopAtExit {
 public:
  explicit StopAtExit(Connector& connector) noexcept : connector_(connector) {}
  ~StopAtExit() { connector_.stop(); }
  StopAtExit(const StopAtExit&) = delete;
  StopAtExit& operator=(const StopAtExit&) = delete;

 private:
  Connector& connector_;
};

Future<IOStream> connect_to_host(std::shared_ptr<Resolver> resolver, Request request) {
  const std::vector<Address> addresses =
      co_await resolver->resolve(request.host, request.port, request.family);
  if (addresses.empty()) {
    throw ResolverError(std::error_code(EADDRNOTAVAIL, std::system_category()),
                        request.str() + ": the resolver found nothing");
  }
  const auto connector = std::make_shared<Connector>(std::move(request), addresses);
  const StopAtExit stop(*connector);
  co_return co_await connector->start();
}

Future<SSLIOStream> connect_with_tls(std::shared_ptr<Resolver> resolver, Request request,
                                     SSLContext context) {
  const std::string host = request.host;
  const IOStream stream = co_await connect_to_host(std::move(resolver), std::move(request));
  co_return co_await stream.start_tls(ServerSide::no, context, host);
}

template <class Stream>
Future<Stream> limit_time(Deadline deadline, Future<Stream> connect, std::string what) {
  try {
    co_return co_await gen::with_timeout(deadline, connect, gen::quiet<std::exception>);
  } catch (const TimeoutError&) {
    // False when it was done by then: with a TimeoutError of a resolver's own.
    if (connect.cancel()) throw TimeoutError(what + ": Timeout");
    throw;
  }
}

Request make_request(std::string_view host, std::uint16_t port, const ConnectOptions& options) {
  Request request{std::string(host), port, options.family, {}, options.source_port, options.stream};
  if (!options.source_ip.empty()) {
    request.source = Address(options.source_ip, options.source_port);
    if (request.family == 0) request.family = request.source.family();
  }
  return request;
}

}  // namespace

TCPClient::TCPClient() : TCPClient(std::make_shared<Resolver>()) {}

TCPClient::TCPClient(std::shared_ptr<Resolver> resolver) : resolver_(std::move(resolver)) {
  if (!resolver_) throw std::invalid_argument("TCPClient: the resolver is null");
}

Future<IOStream> TCPClient::connect(std::string_view host, std::uint16_t port,
                                    const ConnectOptions& options) const {
  Request request = make_request(host, port, options);
  std::string what = request.str();
  auto stream = connect_to_host(resolver_, std::move(request));
  if (!options.timeout) return stream;
  return limit_time(*options.timeout, std::move(stream), std::move(what));
}

Future<SSLIOStream> TCPClient::connect(std::string_view host, std::uint16_t port,
                                       const SSLContext& ssl_options,
                                       const ConnectOptions& options) const {
  if (ssl_options) detail::require_side(ssl_options, ServerSide::no);
  Request request = make_request(host, port, options);
  std::string what = request.str();
  auto stream = connect_with_tls(resolver_, std::move(request), ssl_options);
  if (!options.timeout) return stream;
  return limit_time(*options.timeout, std::move(stream), std::move(what));
}

}  // namespace tornado
