// SPDX-License-Identifier: Apache-2.0
//
// IOStream::start_tls: when a stream may go on encrypted, and that it stays the same one.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <openssl/x509_vfy.h>

#include <stdexcept>
#include <string>
#include <utility>

using namespace tornado;
using test::client_context;
using test::make_iostream_pair;
using test::result;
using test::server_context;
using test::Transport;
using test::wait_until;
using test::why_closed;

namespace {

std::string line_from(test::Loop& loop, const IOStream& from, const IOStream& to,
                      const std::string& line) {
  from.write(line + "\r\n");
  return result(loop, to.read_until("\r\n"));
}

// What a pair of plain streams says before and after both start TLS.
void upgrade(test::Loop& loop, const IOStream& server, const IOStream& client) {
  const auto at_server = server.start_tls(ServerSide::yes, server_context());
  const auto at_client = client.start_tls(ServerSide::no, client_context(), "localhost");
  CHECK(result(loop, at_client) == client);
  CHECK(result(loop, at_server) == server);
}

}  // namespace

TEST_SUITE("iostream") {
  // Python: iostream_test.TestIOStreamStartTLS.test_start_tls_smtp
  TEST_CASE("IOStream.start_tls: as in SMTP") {
    for (const Transport transport : test::plain_transports) {
      test::Loop loop;
      const auto [server, client] = make_iostream_pair(transport);
      CHECK(line_from(loop, server, client, "220 mail.example.com ready") ==
            "220 mail.example.com ready\r\n");
      CHECK(line_from(loop, client, server, "EHLO mail.example.com") ==
            "EHLO mail.example.com\r\n");
      CHECK(line_from(loop, server, client, "250-mail.example.com welcome") ==
            "250-mail.example.com welcome\r\n");
      CHECK(line_from(loop, server, client, "250 STARTTLS") == "250 STARTTLS\r\n");
      CHECK(line_from(loop, client, server, "STARTTLS") == "STARTTLS\r\n");
      CHECK(line_from(loop, server, client, "220 Go ahead") == "220 Go ahead\r\n");
      const auto at_client =
          client.start_tls(ServerSide::no, SSLOptions{.cert_reqs = CertReqs::none});
      const auto at_server = server.start_tls(ServerSide::yes, server_context());
      const SSLIOStream tls_client = result(loop, at_client);
      const SSLIOStream tls_server = result(loop, at_server);
      CHECK(tls_client.version() == "TLSv1.3");
      CHECK(line_from(loop, tls_client, tls_server, "EHLO mail.example.com") ==
            "EHLO mail.example.com\r\n");
      CHECK(line_from(loop, tls_server, tls_client, "250 mail.example.com welcome") ==
            "250 mail.example.com welcome\r\n");
      // The old handles mean the same streams.
      CHECK(tls_client == client);
      CHECK(line_from(loop, client, server, "x") == "x\r\n");
    }
  }

  // Python: iostream_test.TestIOStreamStartTLS.test_handshake_fail
  TEST_CASE("IOStream.start_tls: certificates are verified by default (S29)") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    const auto at_server = server.start_tls(ServerSide::yes, server_context());
    const auto at_client = client.start_tls(ServerSide::no, {}, "localhost");
    CHECK(why_closed(loop, at_client) ==
          test::verify_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
    CHECK(why_closed(loop, at_server).category() == ssl_category());
    CHECK(client.closed());
    CHECK(server.closed());
  }

  // Python: iostream_test.TestIOStreamStartTLS.test_check_hostname
  TEST_CASE("IOStream.start_tls: the server_hostname is checked (S29)") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    const auto at_server = server.start_tls(ServerSide::yes, server_context());
    const auto at_client = client.start_tls(ServerSide::no, client_context(), "127.0.0.2");
    CHECK(why_closed(loop, at_client) == test::verify_error(X509_V_ERR_IP_ADDRESS_MISMATCH));
    CHECK(why_closed(loop, at_server).category() == ssl_category());
  }

  // ---- when it is refused (S26)

  TEST_CASE("IOStream.start_tls: refused while a read is pending") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    const auto read = client.read_until("\n");
    CHECK_THROWS_AS(client.start_tls(ServerSide::no, client_context(), "localhost"),
                    std::logic_error);
    server.write("plain\n");
    CHECK(result(loop, read) == "plain\n");
    upgrade(loop, server, client);
  }

  TEST_CASE("IOStream.start_tls: refused when something that came was not read") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    server.write("220 ok\r\n250 injected\r\n");
    CHECK(result(loop, client.read_until("\r\n")) == "220 ok\r\n");
    CHECK_THROWS_AS(client.start_tls(ServerSide::no, client_context(), "localhost"),
                    std::logic_error);
    CHECK(result(loop, client.read_until("\r\n")) == "250 injected\r\n");
    upgrade(loop, server, client);
  }

  TEST_CASE("IOStream.start_tls: what is in the system's buffer is taken for TLS") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    result(loop, server.write("250 injected\r\n"));
    const auto tls = client.start_tls(ServerSide::no, client_context(), "localhost");
    CHECK(why_closed(loop, tls).category() == ssl_category());
  }

  TEST_CASE("IOStream.start_tls: what was written is sent before, or it is refused") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    client.write("plain");
    const auto at_client = client.start_tls(ServerSide::no, client_context(), "localhost");
    char plain[5];  // an IOStream would read more than that, and could not start TLS then
    test::wait_for_events(server.fileno(), POLLIN);
    CHECK(::recv(server.fileno(), plain, sizeof plain, 0) == 5);
    CHECK(std::string_view(plain, sizeof plain) == "plain");
    server.start_tls(ServerSide::yes, server_context());
    result(loop, at_client);

    const auto [slow, writer] = test::make_narrow_pair(Transport::tcp);
    const std::string much(4 * 1024 * 1024, 'x');
    const auto written = writer.write(much);
    CHECK_THROWS_AS(writer.start_tls(ServerSide::no, client_context(), "localhost"),
                    std::logic_error);
    CHECK(result(loop, slow.read_bytes(much.size())) == much);
    result(loop, written);
    upgrade(loop, slow, writer);
  }

  TEST_CASE("IOStream.start_tls: refused while connecting, and during another") {
    test::Loop loop;
    auto [listener, address] = test::listen(Transport::tcp);
    const IOStream client(Socket::tcp(AF_INET));
    const auto connected = client.connect(address);
    CHECK_THROWS_AS(client.start_tls(ServerSide::no, client_context(), "localhost"),
                    std::logic_error);
    result(loop, connected);
    const auto tls = client.start_tls(ServerSide::no, client_context(), "localhost");
    CHECK_THROWS_AS(client.start_tls(ServerSide::no, client_context(), "localhost"),
                    std::logic_error);
    CHECK_FALSE(client.closed());
  }

  TEST_CASE("IOStream.start_tls: arguments that cannot be, and the stream goes on") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    CHECK_THROWS_AS(client.start_tls(ServerSide::no, client_context()), std::invalid_argument);
    CHECK_THROWS_AS(client.start_tls(ServerSide::no, server_context(), "x"), std::invalid_argument);
    CHECK_THROWS_AS(server.start_tls(ServerSide::yes), std::invalid_argument);
    CHECK_THROWS_AS(client.start_tls(ServerSide::no, client_context(), std::string_view("a\0b", 3)),
                    std::invalid_argument);
    CHECK(line_from(loop, server, client, "x") == "x\r\n");
    upgrade(loop, server, client);
  }

  TEST_CASE("IOStream.start_tls: of a closed stream fails") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    client.close();
    CHECK_FALSE(why_closed(loop, client.start_tls(ServerSide::no, client_context(), "localhost")));
  }

  // ---- what stays

  TEST_CASE("IOStream.start_tls: the close callback stays, and its read-ahead becomes TLS's") {
    for (const Transport transport : test::plain_transports) {
      for (int iterations = 0; iterations < 6; ++iterations) {
        CAPTURE(iterations);
        test::Loop loop;
        const auto [server, client] = make_iostream_pair(transport);
        int closed = 0;
        server.set_close_callback([&] { ++closed; });
        client.set_close_callback([&] { ++closed; });
        loop.iterate(3);  // both wait for the end
        const auto at_client = client.start_tls(ServerSide::no, client_context(), "localhost");
        loop.iterate(iterations % 2);
        // The other's first message may have come into the read-ahead.
        const auto at_server = server.start_tls(ServerSide::yes, server_context());
        loop.iterate(iterations);
        result(loop, at_client);
        result(loop, at_server);
        const std::string data = test::pattern(100000);
        client.write(data);
        CHECK(result(loop, server.read_bytes(data.size())) == data);
        CHECK(line_from(loop, server, client, "x") == "x\r\n");
        CHECK(closed == 0);
        client.close();
        wait_until(loop, [&] { return closed == 2; });
        CHECK_FALSE(server.error());
      }
    }
  }

  TEST_CASE("IOStream.start_tls: a read-ahead that got plain bytes is no way in") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    client.set_close_callback([] {});
    loop.iterate(3);
    result(loop, server.write("250 injected\r\n"));
    const auto tls = client.start_tls(ServerSide::no, client_context(), "localhost");
    CHECK(why_closed(loop, tls).category() == ssl_category());
  }

  TEST_CASE("IOStream.start_tls: cancelling it closes the stream") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    const auto tls = client.start_tls(ServerSide::no, client_context(), "localhost");
    CHECK(tls.cancel());
    CHECK(tls.cancelled());
    CHECK(client.closed());
  }

  TEST_CASE("IOStream.start_tls: the other end closes") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair(Transport::tcp);
    const auto tls = client.start_tls(ServerSide::no, client_context(), "localhost");
    loop.iterate(2);
    server.close();
    const auto error = why_closed(loop, tls);
    CHECK((error == StreamErrc::truncated || error == std::errc::connection_reset));
  }

  TEST_CASE("IOStream.start_tls: a stream of one's own") {
    test::Loop loop;
    auto [stream, wire] = test::make_wire_stream();
    const auto tls = stream.start_tls(ServerSide::no, client_context(), "localhost");
    CHECK(wire->written.size() > 100);
    CHECK(wire->written[0] == 22);  // a handshake record
    wire->feed("this is no TLS");
    CHECK(why_closed(loop, tls).category() == ssl_category());
    CHECK(wire->closes == 1);
  }

  TEST_CASE("IOStream.start_tls: TLS in TLS, as through a proxy") {
    test::Loop loop;
    const auto [server, client] = test::make_tls_pair();
    const void* const outer = client.native_handle();
    client.set_close_callback([] {});
    server.set_close_callback([] {});
    loop.iterate(3);
    upgrade(loop, server, client);
    CHECK(client.native_handle() != outer);
    const std::string data = test::pattern(1024 * 1024);
    client.write(data);
    CHECK(result(loop, server.read_bytes(data.size())) == data);
    client.write("bye");
    client.close();
    CHECK(result(loop, server.read_until_close()) == "bye");
    CHECK_FALSE(server.error());
  }
}
