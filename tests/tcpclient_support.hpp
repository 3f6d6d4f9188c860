// SPDX-License-Identifier: Apache-2.0
//
// tests/tcpclient_support.hpp: what tests of TCPClient use, beside tests/stream_support.hpp. Those
// that use Place or Connecting need tcpclient_support.cpp.
#pragma once

#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/tcpclient.hpp"
#include "tornado/tcpserver.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace test {

using Addresses = std::vector<tornado::Address>;

/// After it the other family is tried: as in tcpclient.cpp.
inline constexpr std::chrono::milliseconds family_delay{300};

/// The addresses that this program has called connect() for, each once, in the order of the first
/// calls.
Addresses& tried();

inline tornado::Socket open_socket(int family) {
  return family == AF_UNIX ? tornado::Socket::unix_stream() : tornado::Socket::tcp(family);
}

/// An address of a family, which never was another Place's.
inline tornado::Address fresh_address(int family) {
  if (family != AF_UNIX) return tornado::Address(family == AF_INET6 ? "::1" : "127.0.0.1", 0);
  using namespace std::string_view_literals;
  static int count = 0;
  return tornado::Address::unix_path(fmt::format("\0tornado-test-{}-{}"sv, ::getpid(), ++count));
}

/// Where a client may try to connect: what the tests of Tornado's _Connector call (AF1, "a"). Unix
/// sockets and IPv4 are two families that every machine has, and which can be told to hang and
/// later to go on: which a Unix socket notices in 10 ms, IPv4 after a second, with the second SYN.
class Place {
 public:
  enum Kind { listening, refusing, hanging };

  Place(int family, Kind kind) : socket_(open_socket(family)) {
    socket_.bind(fresh_address(family));
    address_ = socket_.local_address();
    if (kind == refusing && family == AF_UNIX) socket_.close();
    if (kind == refusing) return;  // bound, but nobody listens
    socket_.listen(kind == hanging ? 0 : 16);
    if (kind == listening) return;
    // One connection, and the backlog is full.
    stopper_ = open_socket(family);
    begin_connect(stopper_, address_);
    wait_for_events(socket_.native_handle(), POLLIN);
    tried().clear();
  }

  const tornado::Address& address() const { return address_; }

  /// No longer hangs but accepts.
  void let_in() {
    socket_.listen(16);
    REQUIRE(socket_.accept());
  }
  /// No longer hangs but refuses.
  void refuse() { socket_.close(); }
  /// Whether a client has connected. Takes the connection.
  bool connected() { return socket_.accept().has_value(); }
  /// Blocks until a client has connected.
  void wait_until_connected() const { wait_for_events(socket_.native_handle(), POLLIN); }

 private:
  tornado::Socket socket_;
  tornado::Socket stopper_;
  tornado::Address address_;
};

/// Gives the addresses that it was told, whatever it is asked for, when it is told to.
class ListResolver : public tornado::Resolver {
 public:
  explicit ListResolver(Addresses addresses) { answer.set_result(std::move(addresses)); }
  ListResolver() = default;  // hangs

  tornado::Future<Addresses> resolve(std::string host, std::uint16_t port, int family) override {
    asked.emplace_back(std::move(host), port, family);
    return answer;
  }

  tornado::Future<Addresses> answer;
  std::vector<std::tuple<std::string, std::uint16_t, int>> asked;
};

/// A loop, and a client in it that connects to Places.
class Connecting {
 public:
  Connecting() {
    loop.iterate();
    tried().clear();
    before_ = open_descriptors();
  }

  /// Connects to "host.test", which has these addresses.
  template <class... P>
  tornado::Future<tornado::IOStream> connect(const tornado::ConnectOptions& options,
                                             const P&... places) {
    before_ = open_descriptors();
    tried().clear();
    const tornado::TCPClient client(std::make_shared<ListResolver>(Addresses{places.address()...}));
    tornado::Future<tornado::IOStream> future = client.connect("host.test", 80, options);
    loop.iterate(2);
    return future;
  }
  template <class... P>
  tornado::Future<tornado::IOStream> connect(const P&... places) {
    return connect(tornado::ConnectOptions(), places...);
  }

  /// Whether just these have been tried until now, in this order. Python: `assert_pending`, which
  /// looks at those among them that have not ended: see open().
  template <class... P>
  static bool has_tried(const P&... places) {
    return tried() == Addresses{places.address()...};
  }
  /// Sockets of the client that are open: attempts that are pending, and what has been connected.
  int open() const { return open_descriptors() - before_; }

  template <class F>
  void wait_until(F condition) {
    test::wait_until(loop, std::move(condition));
  }
  void pass(std::chrono::milliseconds time) {
    loop.run([&] { return tornado::gen::sleep(time); });
  }
  tornado::IOStream result(const tornado::Future<tornado::IOStream>& future) {
    return test::result(loop, future);
  }

  Loop loop;

 private:
  int before_ = 0;
};

/// Python: `TestTCPServer`.
class TestServer : public tornado::TCPServer {
 public:
  explicit TestServer(int family, std::string_view host = "localhost") {
    auto sockets = tornado::netutil::bind_sockets(0, host, {.family = family});
    port = sockets.front().local_address().port();
    add_sockets(std::move(sockets));
  }
  ~TestServer() override { close_all_connections(); }

  tornado::Future<void> handle_stream(tornado::IOStream stream, tornado::Address address) override {
    streams.push_back(std::move(stream));
    clients.push_back(std::move(address));
    return tornado::make_ready_future();
  }

  std::uint16_t port;
  std::vector<tornado::IOStream> streams;
  std::vector<tornado::Address> clients;
};

}  // namespace test
