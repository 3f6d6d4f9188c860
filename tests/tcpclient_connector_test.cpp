// SPDX-License-Identifier: Apache-2.0
//
// Which of a host's addresses TCPClient tries, when, and which of them wins: Tornado's _Connector.
#include "tcpclient_support.hpp"
#include "tornado/tcpclient.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <system_error>

#include <sys/socket.h>

using namespace tornado;
using namespace std::chrono_literals;
using doctest::Contains;
using test::Connecting;
using test::family_delay;
using test::have_ipv6;
using test::Place;
using test::tried;

TEST_SUITE("tcpclient") {
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

  TEST_CASE("TCPClient.connect: both families have the source port" * doctest::skip(!have_ipv6())) {
    Connecting test;
    const std::uint16_t port = test::bind_unused_port().second;
    const Place a(AF_INET, Place::hanging);
    const Place b(AF_INET6, Place::listening);
    const Future<IOStream> stream = test.connect({.source_port = port}, a, b);
    CHECK(test.result(stream).local_address() == Address("::1", port));
  }
}
