// SPDX-License-Identifier: Apache-2.0
//
// TCPClient.connect to real servers, and what it asks and takes. The order of its attempts is in
// tcpclient_connector_test.cpp, their end in tcpclient_teardown_test.cpp.
#include "tornado/tcpclient.hpp"

#include "tcpclient_support.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include <sys/socket.h>

using namespace tornado;
using namespace std::chrono_literals;
using doctest::Contains;
using test::Addresses;
using test::have_ipv6;
using test::ListResolver;
using test::TestServer;

namespace {

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

  // ---- The rest

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
}
