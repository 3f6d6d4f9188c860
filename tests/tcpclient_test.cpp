// SPDX-License-Identifier: Apache-2.0
#include "tornado/tcpclient.hpp"

#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/tcpserver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using namespace std::string_view_literals;
using doctest::Contains;
using test::begin_connect;
using test::have_ipv6;

namespace {

using Addresses = std::vector<Address>;

// After it the other family is tried: as in tcpclient.cpp.
constexpr auto family_delay = 300ms;

/// The addresses that this program has called connect() for, each once, in the order of the first
/// calls.
Addresses& tried() {
  static Addresses addresses;
  return addresses;
}

int connect_and_record(int fd, const sockaddr* address, socklen_t size) {
  static const auto real = reinterpret_cast<decltype(&::connect)>(::dlsym(RTLD_NEXT, "connect"));
  const Address to = Address::from_native(address, size);
  if (std::find(tried().begin(), tried().end(), to) == tried().end()) tried().push_back(to);
  return real(fd, address, size);
}

Socket open_socket(int family) {
  return family == AF_UNIX ? Socket::unix_stream() : Socket::tcp(family);
}

/// An address of a family, which never was another Place's.
Address fresh_address(int family) {
  if (family != AF_UNIX) return Address(family == AF_INET6 ? "::1" : "127.0.0.1", 0);
  static int count = 0;
  return Address::unix_path(fmt::format("\0tornado-test-{}-{}"sv, ::getpid(), ++count));
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
    test::wait_for_events(socket_.native_handle(), POLLIN);
    tried().clear();
  }

  const Address& address() const { return address_; }

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
  void wait_until_connected() const { test::wait_for_events(socket_.native_handle(), POLLIN); }

 private:
  Socket socket_;
  Socket stopper_;
  Address address_;
};

/// Gives the addresses that it was told, whatever it is asked for, when it is told to.
class ListResolver : public Resolver {
 public:
  explicit ListResolver(Addresses addresses) { answer.set_result(std::move(addresses)); }
  ListResolver() = default;  // hangs

  Future<Addresses> resolve(std::string host, std::uint16_t port, int family) override {
    asked.emplace_back(std::move(host), port, family);
    return answer;
  }

  Future<Addresses> answer;
  std::vector<std::tuple<std::string, std::uint16_t, int>> asked;
};

/// A loop, and a client in it that connects to Places.
class Connecting {
 public:
  Connecting() {
    loop.iterate();
    tried().clear();
    before_ = test::open_descriptors();
  }

  /// Connects to "host.test", which has these addresses.
  template <class... P>
  Future<IOStream> connect(const ConnectOptions& options, const P&... places) {
    before_ = test::open_descriptors();
    tried().clear();
    const TCPClient client(std::make_shared<ListResolver>(Addresses{places.address()...}));
    Future<IOStream> future = client.connect("host.test", 80, options);
    loop.iterate(2);
    return future;
  }
  template <class... P>
  Future<IOStream> connect(const P&... places) {
    return connect(ConnectOptions(), places...);
  }

  /// Whether just these have been tried until now, in this order. Python: `assert_pending`, which
  /// looks at those among them that have not ended: see open().
  template <class... P>
  static bool has_tried(const P&... places) {
    return tried() == Addresses{places.address()...};
  }
  /// Sockets of the client that are open: attempts that are pending, and what has been connected.
  int open() const { return test::open_descriptors() - before_; }

  template <class F>
  void wait_until(F condition) {
    test::wait_until(loop, std::move(condition));
  }
  void pass(std::chrono::milliseconds time) {
    loop.run([&] { return gen::sleep(time); });
  }
  IOStream result(const Future<IOStream>& future) { return test::result(loop, future); }

  test::Loop loop;

 private:
  int before_ = 0;
};

IOStream connect(test::Loop& loop, const std::string& host, std::uint16_t port,
                 const ConnectOptions& options = {}) {
  return loop.run([&] { return TCPClient().connect(host, port, options); });
}

// Python: skipIfLocalhostV4
bool localhost_has_ipv6(test::Loop& loop) {
  const Addresses addresses = loop.run([] { return Resolver().resolve("localhost", 80); });
  const bool has = std::any_of(addresses.begin(), addresses.end(),
                               [](const Address& a) { return a.family() == AF_INET6; });
  WARN_MESSAGE(has, "not tested: localhost does not resolve to IPv6");
  return has;
}

/// Python: `TestTCPServer`.
class TestServer : public TCPServer {
 public:
  explicit TestServer(int family, std::string_view host = "localhost") {
    auto sockets = netutil::bind_sockets(0, host, {.family = family});
    port = sockets.front().local_address().port();
    add_sockets(std::move(sockets));
  }
  ~TestServer() override { close_all_connections(); }

  Future<void> handle_stream(IOStream stream, Address address) override {
    streams.push_back(std::move(stream));
    clients.push_back(std::move(address));
    return make_ready_future();
  }

  std::uint16_t port;
  std::vector<IOStream> streams;
  std::vector<Address> clients;
};

// Python: do_test_connect
void do_test_connect(test::Loop& loop, const TestServer& server, const std::string& host,
                     const ConnectOptions& options = {}) {
  const IOStream stream = connect(loop, host, server.port, options);
  test::wait_until(loop, [&] { return !server.streams.empty(); });
  stream.write("hello");
  CHECK(test::result(loop, server.streams.front().read_bytes(5)) == "hello");
  stream.close();
}

static_assert(std::is_trivially_destructible_v<ConnectOptions>);

}  // namespace

extern "C" __attribute__((visibility("default"))) int connect(int fd, const sockaddr* address,
                                                              socklen_t size) {
  return connect_and_record(fd, address, size);
}

TEST_SUITE("tcpclient") {
  // ---- Ports of TCPClientTest

  // Python: tcpclient_test.TCPClientTest.test_connect_ipv4_ipv4
  TEST_CASE("TCPClient.connect: an IPv4 address") {
    test::Loop loop;
    do_test_connect(loop, TestServer(AF_INET), "127.0.0.1");
  }

  // Python: tcpclient_test.TCPClientTest.test_connect_ipv4_dual
  TEST_CASE("TCPClient.connect: a name, to a server with IPv4 only") {
    test::Loop loop;
    do_test_connect(loop, TestServer(AF_INET), "localhost");
  }

  // Python: tcpclient_test.TCPClientTest.test_connect_ipv6_ipv6
  TEST_CASE("TCPClient.connect: an IPv6 address" * doctest::skip(!have_ipv6())) {
    test::Loop loop;
    do_test_connect(loop, TestServer(AF_INET6, "::1"), "::1");
  }

  // Python: tcpclient_test.TCPClientTest.test_connect_ipv6_dual
  TEST_CASE("TCPClient.connect: a name, to a server with IPv6 only" * doctest::skip(!have_ipv6())) {
    test::Loop loop;
    if (!localhost_has_ipv6(loop)) return;
    do_test_connect(loop, TestServer(AF_INET6), "localhost");
  }

  // Python: tcpclient_test.TCPClientTest.test_connect_unspec_ipv4
  TEST_CASE("TCPClient.connect: an IPv4 address, to a server with both families") {
    test::Loop loop;
    do_test_connect(loop, TestServer(AF_UNSPEC), "127.0.0.1");
  }

  // Python: tcpclient_test.TCPClientTest.test_connect_unspec_ipv6
  TEST_CASE("TCPClient.connect: an IPv6 address, to a server with both families" *
            doctest::skip(!have_ipv6())) {
    test::Loop loop;
    do_test_connect(loop, TestServer(AF_UNSPEC, ""), "::1");
  }

  // Python: tcpclient_test.TCPClientTest.test_connect_unspec_dual
  TEST_CASE("TCPClient.connect: a name, to a server with both families") {
    test::Loop loop;
    do_test_connect(loop, TestServer(AF_UNSPEC), "localhost");
  }

  // Python: tcpclient_test.TCPClientTest.test_refused_ipv4
  TEST_CASE("TCPClient.connect: a refused connection is an IOError that says so") {
    test::Loop loop;
    const auto [socket, port] = test::refusing_port();
    CHECK_THROWS_AS(connect(loop, "127.0.0.1", port), IOError);
    try {
      connect(loop, "127.0.0.1", port);
      FAIL("connected");
    } catch (const StreamClosedError& error) {
      CHECK(error.real_error() == std::errc::connection_refused);
      CHECK(error.what() ==
            fmt::format("connect to 127.0.0.1:{}: {}", port, error.real_error().message()));
    }
  }

  // Python: tcpclient_test.TCPClientTest.test_source_ip_fail
  TEST_CASE("TCPClient.connect: C7: another machine's source address is an error that names it") {
    test::Loop loop;
    const TestServer server(AF_INET);
    loop.iterate();
    const int before = test::open_descriptors();
    CHECK_THROWS_AS(do_test_connect(loop, server, "127.0.0.1", {.source_ip = "8.8.8.8"}),
                    std::system_error);
    CHECK_THROWS_WITH_AS(connect(loop, "127.0.0.1", server.port, {.source_ip = "8.8.8.8"}),
                         Contains(" from 8.8.8.8:0: "), IOError);
    CHECK(test::open_descriptors() == before);
  }

  // Python: tcpclient_test.TCPClientTest.test_source_ip_success
  TEST_CASE("TCPClient.connect: from a source address") {
    test::Loop loop;
    do_test_connect(loop, TestServer(AF_INET), "127.0.0.1", {.source_ip = "127.0.0.1"});
    const TestServer server(AF_INET);
    do_test_connect(loop, server, "127.0.0.1", {.source_ip = "127.0.0.9"});
    CHECK(server.clients.front().host() == "127.0.0.9");
  }

  // Python: tcpclient_test.TCPClientTest.test_source_port_fail
  TEST_CASE("TCPClient.connect: C7: a source port not to be had is an error that names it") {
    int first_port_for_all = 1024;
    std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_port_for_all;
    if (first_port_for_all <= 1) return;
    test::Loop loop;
    const TestServer server(AF_INET);
    const uid_t user = ::geteuid();
    if (user == 0) REQUIRE(::seteuid(65534) == 0);  // root may have any
    CHECK_THROWS_AS(do_test_connect(loop, server, "127.0.0.1", {.source_port = 1}),
                    std::system_error);
    CHECK_THROWS_WITH_AS(connect(loop, "127.0.0.1", server.port, {.source_port = 1}),
                         Contains(" from port 1: "), IOError);
    if (user == 0) REQUIRE(::seteuid(user) == 0);
  }

  // Python: tcpclient_test.TCPClientTest.test_connect_timeout
  TEST_CASE("TCPClient.connect: C3: the timeout covers the lookup, which is given up") {
    test::Loop loop;
    const auto resolver = std::make_shared<ListResolver>();
    const TCPClient client(resolver);
    CHECK_THROWS_WITH_AS(
        loop.run([&] { return client.connect("1.2.3.4", 12345, {.timeout = 50ms}); }),
        "connect to 1.2.3.4:12345: Timeout", TimeoutError);
    CHECK(resolver->answer.cancelled());
  }

  // ---- Ports of TestConnectorSplit: the split shows in the order of the attempts

  // Python: tcpclient_test.TestConnectorSplit.test_one_family
  TEST_CASE("TCPClient.connect: addresses of one family are tried one after the other") {
    Connecting test;
    const Place a(AF_UNIX, Place::refusing);
    const Place b(AF_UNIX, Place::hanging);
    const Future<IOStream> stream = test.connect(a, b);
    CHECK(test.has_tried(a, b));
    CHECK(test.open() == 1);  // no secondary one
  }

  // Python: tcpclient_test.TestConnectorSplit.test_mixed
  TEST_CASE("TCPClient.connect: mixed addresses are tried by family, in the resolver's order") {
    Connecting test;
    const Place a(AF_UNIX, Place::refusing);
    const Place b(AF_INET, Place::refusing);
    Place c(AF_UNIX, Place::hanging);
    const Place d(AF_INET, Place::refusing);
    const Future<IOStream> stream = test.connect(a, b, c, d);
    test.wait_until([&] { return tried().size() == 4; });
    CHECK(test.has_tried(a, c, b, d));  // primary a and c, secondary b and d
  }

  // ---- Ports of ConnectorTest: a and b are primary, c and d secondary

  // Python: tcpclient_test.ConnectorTest.test_immediate_success
  TEST_CASE("TCPClient.connect: C1: the first address answers, and no other is tried") {
    Connecting test;
    Place a(AF_UNIX, Place::listening);
    const Place b(AF_UNIX, Place::listening);
    const Place c(AF_INET, Place::listening);
    const Place d(AF_INET, Place::listening);
    const Future<IOStream> stream = test.connect(a, b, c, d);
    CHECK(test.has_tried(a));
    CHECK(test.result(stream).remote_address() == a.address());
    CHECK(a.connected());
    test.pass(family_delay + 50ms);
    CHECK(test.has_tried(a));
    CHECK(test.open() == 1);
    CHECK_FALSE(stream.result().closed());
  }

  // Python: tcpclient_test.ConnectorTest.test_immediate_failure
  TEST_CASE("TCPClient.connect: the only address fails") {
    Connecting test;
    const Place a(AF_UNIX, Place::refusing);
    const Future<IOStream> stream = test.connect(a);
    CHECK(test.has_tried(a));
    CHECK_THROWS_AS(test.result(stream), IOError);
    CHECK(test.open() == 0);
  }

  // Python: tcpclient_test.ConnectorTest.test_one_family_second_try
  TEST_CASE("TCPClient.connect: the second address of a family answers") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    const Future<IOStream> stream = test.connect(a, b);
    CHECK(test.has_tried(a));
    a.refuse();
    test.wait_until([&] { return stream.done(); });
    CHECK(test.has_tried(a, b));
    CHECK(test.result(stream).remote_address() == b.address());
  }

  // Python: tcpclient_test.ConnectorTest.test_one_family_second_try_failure
  TEST_CASE("TCPClient.connect: both addresses of a family fail") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    Place b(AF_UNIX, Place::hanging);
    const Future<IOStream> stream = test.connect(a, b);
    CHECK(test.has_tried(a));
    a.refuse();
    test.wait_until([&] { return test.has_tried(a, b); });
    b.refuse();
    CHECK_THROWS_AS(test.result(stream), IOError);
  }

  // Python: tcpclient_test.ConnectorTest.test_one_family_second_try_timeout
  TEST_CASE("TCPClient.connect: one family only: waiting starts no second attempt") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    const Future<IOStream> stream = test.connect(a, b);
    CHECK(test.has_tried(a));
    test.pass(family_delay + 50ms);
    CHECK(test.has_tried(a));
    a.refuse();
    test.wait_until([&] { return stream.done(); });
    CHECK(test.has_tried(a, b));
    CHECK(test.result(stream).remote_address() == b.address());
  }

  // Python: tcpclient_test.ConnectorTest.test_two_families_immediate_failure
  TEST_CASE("TCPClient.connect: C1: the first failure starts the other family at once") {
    Connecting test;
    const Place a(AF_UNIX, Place::refusing);
    Place b(AF_UNIX, Place::hanging);
    Place c(AF_INET, Place::hanging);
    const Place d(AF_INET, Place::listening);
    // a fails inside of this.
    const Future<IOStream> stream = test.connect(a, b, c, d);
    CHECK(test.has_tried(a, b, c));
    CHECK(test.open() == 2);  // b and c
    b.refuse();
    c.let_in();
    CHECK(test.result(stream).remote_address() == c.address());
    CHECK(test.has_tried(a, b, c));
    CHECK(test.open() == 0);  // the stream, and one listening socket less
  }

  // Python: tcpclient_test.ConnectorTest.test_two_families_timeout
  TEST_CASE("TCPClient.connect: the other family answers while the first address hangs") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    const Place c(AF_INET, Place::listening);
    const Place d(AF_INET, Place::listening);
    const Future<IOStream> stream = test.connect(a, b, c, d);
    CHECK(test.has_tried(a));
    CHECK(test.result(stream).remote_address() == c.address());
    CHECK(test.has_tried(a, c));
    // The first attempt is over, and starts no second one.
    CHECK(test.open() == 1);
    a.refuse();
    test.pass(50ms);
    CHECK(test.has_tried(a, c));
  }

  // Python: tcpclient_test.ConnectorTest.test_success_after_timeout
  TEST_CASE("TCPClient.connect: C2: the first address answers late, the other attempt is closed") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    Place c(AF_INET, Place::hanging);
    const Place d(AF_INET, Place::listening);
    const Future<IOStream> stream = test.connect(a, b, c, d);
    CHECK(test.has_tried(a));
    test.wait_until([&] { return test.has_tried(a, c); });
    a.let_in();
    CHECK(test.result(stream).remote_address() == a.address());
    CHECK(test.open() == 1);
    // Nobody comes to c any more, though it answers now.
    c.let_in();
    test.pass(1100ms);
    CHECK_FALSE(c.connected());
    CHECK(test.has_tried(a, c));
    CHECK_FALSE(stream.result().closed());
  }

  // Python: tcpclient_test.ConnectorTest.test_all_fail
  TEST_CASE("TCPClient.connect: C5: fails when all addresses of both families have failed") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    Place b(AF_UNIX, Place::hanging);
    const Place c(AF_INET, Place::refusing);
    const Place d(AF_INET, Place::refusing);
    const Future<IOStream> stream = test.connect(a, b, c, d);
    CHECK(test.has_tried(a));
    test.wait_until([&] { return test.has_tried(a, c, d); });
    // One queue is empty now.
    test.wait_until([&] { return test.open() == 1; });
    CHECK(test.has_tried(a, c, d));
    CHECK_FALSE(stream.done());
    a.refuse();
    test.wait_until([&] { return test.has_tried(a, c, d, b); });
    CHECK_FALSE(stream.done());
    b.refuse();
    CHECK_THROWS_AS(test.result(stream), IOError);
    CHECK_THROWS_WITH(stream.result(), Contains(b.address().str().c_str()));
  }

  // Python: tcpclient_test.ConnectorTest.test_one_family_timeout_after_connect_timeout
  TEST_CASE("TCPClient.connect: C3: the timeout closes the attempt, and starts no other") {
    Connecting test;
    const Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    const Future<IOStream> stream = test.connect({.timeout = 50ms}, a, b);
    CHECK(test.has_tried(a));
    CHECK_THROWS_AS(test.result(stream), TimeoutError);
    CHECK(test.open() == 0);
    test.pass(family_delay);
    CHECK(test.has_tried(a));
    CHECK(test.open() == 0);
  }

  // Python: tcpclient_test.ConnectorTest.test_one_family_success_before_connect_timeout
  TEST_CASE("TCPClient.connect: C4: the timeout does not touch what was connected before") {
    Connecting test;
    const Place a(AF_UNIX, Place::listening);
    const Place b(AF_UNIX, Place::listening);
    const Future<IOStream> stream = test.connect({.timeout = 1s}, a, b);
    CHECK(test.has_tried(a));
    CHECK(test.result(stream).remote_address() == a.address());
    test.pass(1050ms);
    CHECK(test.has_tried(a));
    CHECK_FALSE(stream.result().closed());
    CHECK(test.open() == 1);
  }

  // Python: tcpclient_test.ConnectorTest.test_one_family_second_try_after_connect_timeout
  TEST_CASE("TCPClient.connect: C3: the timeout closes the second attempt") {
    Connecting test;
    const Place a(AF_UNIX, Place::refusing);
    const Place b(AF_UNIX, Place::hanging);
    const Future<IOStream> stream = test.connect({.timeout = 100ms}, a, b);
    CHECK(test.has_tried(a, b));
    CHECK_THROWS_AS(test.result(stream), TimeoutError);
    CHECK(test.open() == 0);
    CHECK(test.has_tried(a, b));
  }

  // Python: tcpclient_test.ConnectorTest.test_one_family_second_try_failure_before_connect_timeout
  TEST_CASE("TCPClient.connect: C4: the timeout does not change an error that came before") {
    Connecting test;
    const Place a(AF_UNIX, Place::refusing);
    const Place b(AF_UNIX, Place::refusing);
    const Future<IOStream> stream = test.connect({.timeout = 1s}, a, b);
    CHECK(test.has_tried(a, b));
    CHECK_THROWS_AS(test.result(stream), IOError);
    test.pass(1050ms);
    CHECK(test.has_tried(a, b));
    CHECK(test.open() == 0);
    CHECK_THROWS_AS(stream.result(), IOError);
  }

  // Python: tcpclient_test.ConnectorTest.test_two_family_timeout_before_connect_timeout
  TEST_CASE("TCPClient.connect: C3: the timeout closes the attempts of both families") {
    Connecting test;
    const Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    const Place c(AF_INET, Place::hanging);
    const Place d(AF_INET, Place::listening);
    const Future<IOStream> stream = test.connect({.timeout = 4 * family_delay}, a, b, c, d);
    CHECK(test.has_tried(a));
    test.wait_until([&] { return test.has_tried(a, c); });
    CHECK(test.open() == 2);
    CHECK_THROWS_AS(test.result(stream), TimeoutError);
    CHECK(test.open() == 0);
    CHECK(test.has_tried(a, c));
  }

  // Python: tcpclient_test.ConnectorTest.test_two_family_success_after_timeout
  TEST_CASE("TCPClient.connect: C2: the winner's rivals are closed") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    const Place c(AF_INET, Place::hanging);
    const Place d(AF_INET, Place::listening);
    const Future<IOStream> stream = test.connect({.timeout = 1h}, a, b, c, d);
    CHECK(test.has_tried(a));
    test.wait_until([&] { return test.has_tried(a, c); });
    CHECK(test.open() == 2);
    a.let_in();
    CHECK(test.result(stream).remote_address() == a.address());
    CHECK(test.open() == 1);
    CHECK(test.has_tried(a, c));
  }

  // Python: tcpclient_test.ConnectorTest.test_two_family_timeout_after_connect_timeout
  TEST_CASE("TCPClient.connect: C3: after the timeout the other family is not tried") {
    Connecting test;
    const Place a(AF_UNIX, Place::hanging);
    const Place b(AF_UNIX, Place::listening);
    const Place c(AF_INET, Place::listening);
    const Place d(AF_INET, Place::listening);
    const Future<IOStream> stream = test.connect({.timeout = 50ms}, a, b, c, d);
    CHECK(test.has_tried(a));
    CHECK_THROWS_AS(test.result(stream), TimeoutError);
    CHECK(test.open() == 0);
    test.pass(family_delay);
    CHECK(test.has_tried(a));
    CHECK(test.open() == 0);
  }

  // ---- The rest

  TEST_CASE("TCPClient.connect: C2: two that answer at the same moment leave one socket" *
            doctest::skip(!have_ipv6())) {
    Connecting test;
    Place a(AF_INET6, Place::hanging);
    Place b(AF_INET, Place::hanging);
    const Future<IOStream> stream = test.connect(a, b);
    test.wait_until([&] { return test.has_tried(a, b); });
    a.let_in();
    b.let_in();
    // The loop stands still while both come in.
    a.wait_until_connected();
    b.wait_until_connected();
    const IOStream winner = test.result(stream);
    CHECK(test.open() == 1);
    CHECK_FALSE(winner.closed());
    CHECK(a.connected());
    CHECK(b.connected());
    winner.close();
    CHECK(test.open() == 0);
  }

  TEST_CASE("TCPClient.connect: the error names the host that was asked for, and the address") {
    Connecting test;
    const Place a(AF_INET, Place::refusing);
    const Future<IOStream> stream = test.connect(a);
    const std::error_code why = test::why_closed(test.loop, stream);
    CHECK(why == std::errc::connection_refused);
    CHECK_THROWS_WITH_AS(
        stream.result(),
        fmt::format("connect to host.test:80 ({}): {}", a.address().str(), why.message()).c_str(),
        StreamClosedError);
  }

  TEST_CASE("TCPClient.connect: an IPv6 address stands in brackets in messages") {
    test::Loop loop;
    const TCPClient client(std::make_shared<ListResolver>());
    CHECK_THROWS_WITH_AS(loop.run([&] { return client.connect("::1", 80, {.timeout = 0s}); }),
                         "connect to [::1]:80: Timeout", TimeoutError);
  }

  TEST_CASE("TCPClient.connect: a name that does not resolve is a ResolverError that names it") {
    test::Loop loop;
    CHECK_THROWS_WITH_AS(connect(loop, "", 80), Contains("resolve \"\" (port 80)"), ResolverError);
    CHECK_THROWS_WITH_AS(connect(loop, "127.0.0.1", 80, {.family = AF_INET6}),
                         Contains("resolve \"127.0.0.1\" (port 80)"), ResolverError);
  }

  TEST_CASE("TCPClient.connect: asks its resolver, whose errors travel unchanged") {
    struct CustomError : std::runtime_error {
      using std::runtime_error::runtime_error;
    };
    test::Loop loop;
    for (const bool limited : {false, true}) {
      const auto resolver = std::make_shared<ListResolver>();
      ConnectOptions options;
      options.family = AF_INET;
      if (limited) options.timeout = 1h;
      const Future<IOStream> stream = TCPClient(resolver).connect("host.test", 80, options);
      REQUIRE(resolver->asked.size() == 1);
      CHECK(resolver->asked[0] == std::tuple("host.test", 80, AF_INET));
      CHECK_FALSE(stream.done());
      limited ? resolver->answer.set_exception(TimeoutError("its own"))
              : resolver->answer.set_exception(CustomError("its own"));
      CHECK_THROWS_WITH(test::result(loop, stream), "its own");
    }
  }

  TEST_CASE("TCPClient.connect: a resolver that finds nothing is an error that says so") {
    test::Loop loop;
    const TCPClient client(std::make_shared<ListResolver>(Addresses()));
    CHECK_THROWS_WITH_AS(loop.run([&] { return client.connect("host.test", 80); }),
                         Contains("connect to host.test:80: the resolver found nothing"),
                         ResolverError);
  }

  TEST_CASE("TCPClient.connect: a resolver's Future that others wait for is not cancelled") {
    test::Loop loop;
    const auto resolver = std::make_shared<ListResolver>();
    const TCPClient client(resolver);
    const Future<IOStream> first = client.connect("host.test", 80, {.timeout = 1ms});
    const Future<IOStream> second = client.connect("host.test", 80);
    CHECK_THROWS_AS(test::result(loop, first), TimeoutError);
    CHECK_FALSE(resolver->answer.done());
    CHECK_FALSE(second.done());
  }

  TEST_CASE("TCPClient.connect: the default resolver, and an OverrideResolver") {
    test::Loop loop;
    const TestServer server(AF_INET);
    const TCPClient client(std::make_shared<OverrideResolver>(
        std::make_shared<Resolver>(),
        OverrideResolver::Mapping{{{"example.com", 80}, {"localhost", server.port}}}));
    const IOStream stream = loop.run([&] { return client.connect("example.com", 80); });
    CHECK(stream.remote_address() == Address("127.0.0.1", server.port));
  }

  TEST_CASE("TCPClient: needs a resolver") {
    CHECK_THROWS_AS(TCPClient(nullptr), std::invalid_argument);
  }

  TEST_CASE("TCPClient.connect: copies its arguments, and goes on without the client") {
    test::Loop loop;
    const TestServer server(AF_INET);
    const auto resolver = std::make_shared<ListResolver>();
    auto client = std::make_unique<TCPClient>(resolver);
    auto host = std::make_unique<std::string>("a host whose name is too long for the stack.test");
    auto source = std::make_unique<std::string>("127.0.0.1");
    ConnectOptions options;
    options.source_ip = *source;
    const Future<IOStream> stream = client->connect(*host, 80, options);
    options.source_ip = "8.8.8.8";
    host.reset();
    source.reset();
    client.reset();
    resolver->answer.set_result({Address("127.0.0.1", server.port)});
    CHECK(test::result(loop, stream).remote_address().port() == server.port);
  }

  TEST_CASE("TCPClient.connect: the options reach the stream") {
    test::Loop loop;
    const TestServer server(AF_INET);
    ConnectOptions options;
    options.stream.max_buffer_size = 12345;
    options.stream.read_chunk_size = 123;
    const IOStream stream = connect(loop, "127.0.0.1", server.port, options);
    CHECK(stream.options().max_buffer_size == 12345);
    CHECK(stream.options().read_chunk_size == 123);
    options.stream.read_chunk_size = 0;
    CHECK_THROWS_AS(connect(loop, "127.0.0.1", server.port, options), std::invalid_argument);
  }

  TEST_CASE("TCPClient.connect: C6: a family for which no socket can be made is passed over") {
    Connecting test;
    struct {
      Address address() const {
        sockaddr_storage none{};
        none.ss_family = 44;
        return Address::from_native(&none, 16);
      }
    } const unknown;
    const Place a(AF_INET, Place::listening);
    CHECK(test.result(test.connect(unknown, a)).remote_address() == a.address());

    const Future<IOStream> only = test.connect(unknown, unknown);
    CHECK_THROWS_WITH_AS(test.result(only), Contains("connect to host.test:80 (an address of"),
                         IOError);
    CHECK(test.open() == 0);
  }

  TEST_CASE("TCPClient.connect: C5: the last error is reported, not the first") {
    Connecting test;
    const Place a(AF_INET, Place::refusing);
    struct {
      Address address() const { return Address::unix_path("/no/such/folder/socket"); }
    } const missing;
    CHECK(test::why_closed(test.loop, test.connect(missing, a)) == std::errc::connection_refused);
    CHECK(test::why_closed(test.loop, test.connect(a, missing)) ==
          std::errc::no_such_file_or_directory);
  }

  TEST_CASE("TCPClient.connect: from a source port") {
    test::Loop loop;
    const TestServer server(AF_INET);
    const std::uint16_t port = test::bind_unused_port().second;
    do_test_connect(loop, server, "127.0.0.1", {.source_port = port});
    CHECK(server.clients.front() == Address("127.0.0.1", port));

    const auto [taken, taken_port] = test::bind_unused_port();
    try {
      connect(loop, "127.0.0.1", server.port, {.source_port = taken_port});
      FAIL("connected");
    } catch (const StreamClosedError& error) {
      CHECK(error.real_error() == std::errc::address_in_use);
    }
  }

  TEST_CASE("TCPClient.connect: both families have the source port" * doctest::skip(!have_ipv6())) {
    Connecting test;
    const std::uint16_t port = test::bind_unused_port().second;
    const Place a(AF_INET, Place::hanging);
    const Place b(AF_INET6, Place::listening);
    const Future<IOStream> stream = test.connect({.source_port = port}, a, b);
    CHECK(test.result(stream).local_address() == Address("::1", port));
  }

  TEST_CASE("TCPClient.connect: the source address decides the family") {
    test::Loop loop;
    const auto resolver = std::make_shared<ListResolver>();
    const Future<IOStream> stream =
        TCPClient(resolver).connect("host.test", 80, {.source_ip = "127.0.0.1"});
    CHECK(resolver->asked[0] == std::tuple("host.test", 80, AF_INET));
    stream.cancel();
    CHECK_THROWS_AS(test::result(loop, stream), CancelledError);
  }

  TEST_CASE("TCPClient.connect: a source that is no IP address throws from the call") {
    const TCPClient client;
    CHECK_THROWS_WITH_AS(static_cast<void>(client.connect("host", 80, {.source_ip = "localhost"})),
                         Contains("\"localhost\" is not an IP address"), std::invalid_argument);
  }

  TEST_CASE("TCPClient.connect: cancelling closes all attempts") {
    Connecting test;
    const Place a(AF_UNIX, Place::hanging);
    const Place b(AF_INET, Place::hanging);
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      const Future<IOStream> one = test.connect({.timeout = timeout}, a, b);
      CHECK(test.open() == 1);
      CHECK(one.cancel());
      CHECK_THROWS_AS(test.result(one), CancelledError);
      CHECK(test.open() == 0);

      const Future<IOStream> both = test.connect({.timeout = timeout}, a, b);
      test.wait_until([&] { return test.has_tried(a, b); });
      CHECK(test.open() == 2);
      CHECK(both.cancel());
      CHECK_THROWS_AS(test.result(both), CancelledError);
      CHECK(test.open() == 0);
    }
  }

  TEST_CASE("TCPClient.connect: cancelling gives up the lookup") {
    test::Loop loop;
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      const auto resolver = std::make_shared<ListResolver>();
      const Future<IOStream> stream =
          TCPClient(resolver).connect("host.test", 80, {.timeout = timeout});
      loop.iterate();
      CHECK(stream.cancel());
      CHECK_THROWS_AS(test::result(loop, stream), CancelledError);
      CHECK(resolver->answer.cancelled());
    }
  }

  TEST_CASE("TCPClient.connect: with_timeout around it, and the attempt goes on meanwhile") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    const Future<IOStream> stream = test.connect(a);
    CHECK_THROWS_AS(test.loop.run([&] { return gen::with_timeout(1ms, stream); }), TimeoutError);
    a.let_in();
    CHECK(test.result(stream).remote_address() == a.address());
  }

  TEST_CASE("TCPClient.connect: a stream that nobody took is closed") {
    Connecting test;
    Place a(AF_INET, Place::listening);
    std::optional<Future<IOStream>> stream = test.connect(a);
    test.wait_until([&] { return stream->done(); });
    CHECK(a.connected());
    CHECK(test.open() == 1);
    stream.reset();
    test.loop.iterate();
    CHECK(test.open() == 0);
  }

  TEST_CASE("TCPClient.connect: the loop can be closed at every step") {
    { Connecting warm_up; }
    const int before = test::open_descriptors();
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      for (const std::string_view step : {"lookup", "begun", "first", "both", "one left", "done"}) {
        CAPTURE(step);
        std::optional<Connecting> test(std::in_place);
        Place a(AF_UNIX, Place::hanging);
        Place b(AF_INET, Place::hanging);
        std::optional<Place> c(std::in_place, AF_INET, Place::listening);
        const ConnectOptions options{.timeout = timeout};
        Future<IOStream> stream;
        if (step == "lookup") {
          stream = TCPClient(std::make_shared<ListResolver>()).connect("host.test", 80, options);
        } else if (step == "begun") {
          stream = TCPClient(std::make_shared<ListResolver>(Addresses{a.address()}))
                       .connect("host.test", 80, options);
        } else if (step == "done") {
          stream = test->connect(options, *c);
          test->wait_until([&] { return stream.done(); });
        } else {
          stream = test->connect(options, a, b);
        }
        if (step == "both") test->wait_until([&] { return test->has_tried(a, b); });
        if (step == "one left") {
          a.refuse();
          test->wait_until([&] { return test->has_tried(a, b); });
        }
        test.reset();
        CHECK(stream.done());
        CHECK(stream.cancelled() == (step != "done"));
      }
      CHECK(test::open_descriptors() == before);
    }
  }

  TEST_CASE("TCPClient.connect: a server that goes takes the connects of its coroutines along") {
    /// A server that connects to somewhere else for each of its clients.
    class Proxy : public TCPServer {
     public:
      Proxy(std::shared_ptr<Resolver> resolver, std::optional<Deadline> limit)
          : client(std::move(resolver)), timeout(limit) {
        Socket socket = Socket::unix_stream();
        socket.bind(fresh_address(AF_UNIX));
        socket.listen();
        add_socket(std::move(socket));
      }
      ~Proxy() override { close_all_connections(); }
      Future<void> handle_stream(IOStream, Address) override {
        const IOStream other = co_await client.connect("host.test", 80, {.timeout = timeout});
        FAIL_CHECK("connected to ", other.remote_address().str());
      }
      TCPClient client;
      std::optional<Deadline> timeout;
    };
    Connecting test;
    const Place a(AF_UNIX, Place::hanging);
    const Place b(AF_INET, Place::listening);
    const auto resolver = std::make_shared<ListResolver>(Addresses{a.address(), b.address()});
    { const Proxy first(resolver, std::nullopt); }  // makes the loop's set of descriptors
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      const int before = test::open_descriptors();
      std::optional<Proxy> proxy(std::in_place, resolver, timeout);
      const IOStream stream(Socket::unix_stream());
      test::result(test.loop, stream.connect(proxy->addresses().front()));
      tried().clear();
      test.wait_until([&] { return test.has_tried(a); });
      proxy.reset();
      test.pass(family_delay + 50ms);
      CHECK(test.has_tried(a));
      stream.close();
      CHECK(test::open_descriptors() == before);
    }
  }

  TEST_CASE("TCPClient.connect: many clients at once, and not a descriptor too many") {
    Connecting test;
    const TestServer server(AF_INET);
    const Place a(AF_UNIX, Place::refusing);
    test.loop.iterate();
    const int before = test::open_descriptors();
    {
      const TCPClient client(std::make_shared<ListResolver>(
          Addresses{a.address(), Address("127.0.0.1", server.port), a.address()}));
      std::vector<Future<IOStream>> futures;
      for (int i = 0; i < 100; ++i) futures.push_back(client.connect("host.test", 80));
      const std::vector<IOStream> streams = test.loop.run([&] { return gen::multi(futures); });
      for (const IOStream& stream : streams) CHECK(stream.remote_address().port() == server.port);
      test.wait_until([&] { return server.streams.size() == 100; });
      CHECK(test::open_descriptors() == before + 200);
      for (const IOStream& stream : server.streams) stream.close();
      for (const IOStream& stream : streams) stream.close();
    }
    CHECK(test::open_descriptors() == before);
  }
}
