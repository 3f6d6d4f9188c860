// SPDX-License-Identifier: Apache-2.0
//
// SSLIOStream: the handshake, and what is known afterwards. Whom it believes is tested in
// ssl_verify_test.cpp; what it reads and writes with the other streams, in iostream_read_test.cpp
// and so on; its end in ssl_close_test.cpp.
#include "ssl_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"
#include "tornado/tcpclient.hpp"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;
using test::client_context;
using test::connected_sockets;
using test::EchoServer;
using test::issue;
using test::make_tls_pair;
using test::new_client;
using test::result;
using test::server_context;
using test::wait_until;
using test::why_closed;

TEST_SUITE("iostream") {
  // ---- the handshake

  TEST_CASE("SSLIOStream.connect: is done after the handshake (S27)") {
    test::Loop loop;
    const EchoServer server;
    const auto client = new_client();
    CHECK(client.version().empty());
    CHECK(client.cipher().empty());
    CHECK_FALSE(client.peer_certificate());
    const SSLIOStream connected = result(loop, client.connect(server.address(), "localhost"));
    CHECK(connected == client);
    CHECK(client.version() == "TLSv1.3");
    CHECK(client.cipher().substr(0, 4) == "TLS_");
    CHECK(client.selected_alpn_protocol().empty());
    CHECK_FALSE(client.session_reused());
    CHECK(client.native_handle() != nullptr);
    const auto certificate = client.peer_certificate();
    REQUIRE(certificate);
    CHECK(certificate->subject == "CN=localhost");
    CHECK(certificate->issuer == "CN=tornado-asio test authority");
    CHECK(certificate->subject_alt_names ==
          std::vector<std::string>{"DNS:localhost", "DNS:foo.example.com", "IP Address:127.0.0.1"});
    CHECK(certificate->pem() == test::server_pem().certificate);
    CHECK(certificate->not_before < std::chrono::system_clock::now());
    CHECK(certificate->not_after > std::chrono::system_clock::now());
    CHECK_FALSE(certificate->serial_number.empty());
    CHECK(test::echoed(loop, client, "hello") == "hello\n");
    CHECK(server.streams.at(0).server_name() == "localhost");
  }

  TEST_CASE("SSLIOStream: what is written while connecting is sent after the handshake (S11)") {
    test::Loop loop;
    const EchoServer server;
    const auto client = new_client();
    const auto connected = client.connect(server.address(), "localhost");
    const auto written = client.write("early\n");
    CHECK_FALSE(connected.done());
    CHECK(client.writing());
    CHECK(result(loop, client.read_until("\n")) == "early\n");
    CHECK(connected.done());
    CHECK(written.done());
  }

  TEST_CASE("SSLIOStream: on a connected socket the handshake begins at once (S31)") {
    test::Loop loop;
    auto [a, b] = connected_sockets();
    const SSLIOStream client(std::move(b), client_context(), "localhost");
    // The first message is there without an iteration of the loop.
    test::wait_for_events(a.native_handle(), POLLIN);
    char type = 0;
    CHECK(::recv(a.native_handle(), &type, 1, MSG_PEEK) == 1);
    CHECK(type == 22);  // a handshake record
    const SSLIOStream server(std::move(a), ServerSide::yes, server_context());
    CHECK(result(loop, client.wait_for_handshake()) == client);
    CHECK(result(loop, server.wait_for_handshake()) == server);
  }

  // Python: iostream_test.WaitForHandshakeTest.test_wait_for_handshake_future
  TEST_CASE("SSLIOStream.wait_for_handshake: in a server's handle_stream") {
    test::Loop loop;
    Future<void> done;
    class Server : public TCPServer {
     public:
      explicit Server(Future<void> future) : TCPServer(server_context()), done_(std::move(future)) {
        listen(0, "127.0.0.1");
      }
      ~Server() override { close_all_connections(); }

     private:
      Future<void> handle_stream(IOStream stream, Address) override {
        const SSLIOStream tls(std::move(stream));
        CHECK(tls.cipher().empty());
        const SSLIOStream same = co_await tls.wait_for_handshake();
        CHECK(same == tls);
        CHECK_FALSE(tls.cipher().empty());
        done_.set_result();
      }
      Future<void> done_;
    };
    const Server server(done);
    const auto client = new_client();
    result(loop, client.connect(server.addresses().front(), "localhost"));
    result(loop, done);
  }

  // Python: iostream_test.WaitForHandshakeTest.test_wait_for_handshake_already_waiting_error
  TEST_CASE("SSLIOStream.wait_for_handshake: a second waiter is misuse (S27)") {
    test::Loop loop;
    auto [a, b] = connected_sockets();
    const SSLIOStream server(std::move(a), ServerSide::yes, server_context());
    const SSLIOStream client(std::move(b), client_context(), "localhost");
    const auto first = server.wait_for_handshake();
    CHECK_THROWS_AS(server.wait_for_handshake(), std::logic_error);
    result(loop, first);

    const EchoServer other;
    const auto connecting = new_client();
    const auto connected = connecting.connect(other.address(), "localhost");
    CHECK_THROWS_AS(connecting.wait_for_handshake(), std::logic_error);
    CHECK_THROWS_AS(connecting.connect(other.address(), "localhost"), std::logic_error);
    result(loop, connected);
    CHECK_THROWS_AS(connecting.connect(other.address(), "localhost"), std::logic_error);
  }

  // Python: iostream_test.WaitForHandshakeTest.test_wait_for_handshake_already_connected
  TEST_CASE("SSLIOStream.wait_for_handshake: is done at once when the handshake is (S27)") {
    test::Loop loop;
    const auto [server, client] = make_tls_pair();
    CHECK(server.wait_for_handshake().done());
    CHECK(server.wait_for_handshake().result() == server);
    CHECK(client.wait_for_handshake().done());
  }

  TEST_CASE("SSLIOStream.wait_for_handshake: cancelling it only takes the waiting back") {
    test::Loop loop;
    auto [a, b] = connected_sockets();
    const SSLIOStream server(std::move(a), ServerSide::yes, server_context());
    const auto first = server.wait_for_handshake();
    CHECK(first.cancel());
    CHECK(first.cancelled());
    CHECK_FALSE(server.closed());
    const SSLIOStream client(std::move(b), client_context(), "localhost");
    result(loop, server.wait_for_handshake());
    CHECK_FALSE(server.closed());
  }

  TEST_CASE("SSLIOStream.wait_for_handshake: fails when the connect before it is cancelled") {
    test::Loop loop;
    const EchoServer server;
    const SSLIOStream client(Socket::tcp(AF_INET), client_context(), "localhost");
    const auto handshake = client.wait_for_handshake();
    const auto connected = static_cast<const IOStream&>(client).connect(server.address());
    CHECK(connected.cancel());
    CHECK(client.closed());
    CHECK(why_closed(loop, handshake) == std::errc::operation_canceled);
  }

  TEST_CASE("SSLIOStream.connect: cancelling it closes the stream, at any step") {
    for (int steps = 0; steps < 12; ++steps) {
      CAPTURE(steps);
      test::Loop loop;
      const EchoServer server;
      const auto client = new_client();
      const auto connected = client.connect(server.address(), "localhost");
      loop.iterate(steps);
      const bool done = connected.done();
      CHECK(connected.cancel() == !done);
      CHECK(client.closed() == !done);
      CHECK(connected.cancelled() == !done);
    }
  }

  TEST_CASE("SSLIOStream: a handshake that nobody waits for ends with the last handle") {
    test::Loop loop;
    auto [a, b] = connected_sockets();
    { const SSLIOStream server(std::move(a), ServerSide::yes, server_context()); }
    char byte;
    test::wait_for_events(b.native_handle(), POLLIN);
    CHECK(::recv(b.native_handle(), &byte, 1, 0) == 0);
  }

  TEST_CASE("SSLIOStream: what was written leaves after the last handle, behind the handshake") {
    test::Loop loop;
    auto [a, b] = connected_sockets();
    {
      const SSLIOStream server(std::move(a), ServerSide::yes, server_context());
      server.write("goodbye");
    }
    const SSLIOStream client(std::move(b), client_context(), "localhost");
    CHECK(result(loop, client.read_until_close()) == "goodbye");
    CHECK_FALSE(client.error());
  }

  TEST_CASE("SSLIOStream.connect: refused") {
    test::Loop loop;
    const auto [refusing, port] = test::refusing_port();
    const auto client = new_client();
    CHECK(why_closed(loop, client.connect(Address("127.0.0.1", port), "localhost")) ==
          std::errc::connection_refused);
    CHECK(client.closed());
  }

  TEST_CASE("SSLIOStream: a read and a close callback from before the connection") {
    test::Loop loop;
    const EchoServer server;
    const auto client = new_client();
    bool closed = false;
    client.set_close_callback([&] { closed = true; });
    loop.iterate(3);
    const auto connected = client.connect(server.address(), "localhost");
    const auto line = client.read_until("\n");
    client.write("x\n");
    CHECK(result(loop, line) == "x\n");
    CHECK(connected.done());
    CHECK_FALSE(closed);
    server.streams.at(0).close();
    wait_until(loop, [&] { return closed; });
    CHECK_FALSE(client.error());
  }

  // ---- those who speak no TLS

  TEST_CASE("SSLIOStream: plain HTTP to a TLS server is a warning of one line (S25)") {
    test::Loop loop;
    const EchoServer server;
    const test::ExpectLog log(log::gen_log, "http request", LogLevel::warning);
    const auto client = test::connect_to(loop, server.address());
    client.write("GET / HTTP/1.0\r\n\r\n");
    result(loop, client.read_until_close());
    wait_until(loop, [&] { return server.streams.at(0).closed(); });
    CHECK(server.streams[0].error().category() == ssl_category());
    CHECK(log.count() == 1);
  }

  TEST_CASE("SSLIOStream: a port scan of a TLS server logs nothing (S25, S28)") {
    test::Loop loop;
    const EchoServer server;
    const auto silent = test::connect_to(loop, server.address());
    silent.close();
    const auto resetting = test::connect_to(loop, server.address());
    test::reset_on_close(resetting);
    resetting.close();
    const auto halting = test::connect_to(loop, server.address());
    result(loop, halting.write("\x16\x03\x01"));
    halting.close();
    wait_until(loop, [&] {
      return server.streams.size() == 3 && server.streams[0].closed() &&
             server.streams[1].closed() && server.streams[2].closed();
    });
    CHECK(server.streams[0].error() == StreamErrc::truncated);
    CHECK(server.streams[1].error() == std::errc::connection_reset);
    CHECK(server.streams[2].error() == StreamErrc::truncated);
  }

  TEST_CASE("SSLIOStream.connect: to a server that speaks no TLS") {
    test::Loop loop;
    test::Server server([](IOStream stream, Address) -> Future<void> {
      co_await stream.write("220 mail.example.com ready\r\n");
      co_await stream.read_until_close();
    });
    server.listen(0, "127.0.0.1");
    const auto client = new_client();
    const auto error = why_closed(loop, client.connect(server.address(), "localhost"));
    CHECK(error.category() == ssl_category());
    CHECK(error.message() == "wrong version number");
  }

  TEST_CASE("SSLIOStream.connect: to a server that hangs up") {
    test::Loop loop;
    test::Server server([](IOStream stream, Address) {
      stream.close();
      return make_ready_future();
    });
    server.listen(0, "127.0.0.1");
    const auto client = new_client();
    const auto error = why_closed(loop, client.connect(server.address(), "localhost"));
    CHECK((error == StreamErrc::truncated || error == std::errc::connection_reset ||
           error == std::errc::broken_pipe));
  }

  TEST_CASE("ssl_category: an unknown code is a number (S33)") {
    const std::error_code unknown(0x7F123456, ssl_category());
    CHECK(unknown.message().find("7F123456") != std::string::npos);
    CHECK(std::string(ssl_category().name()) == "tornado.ssl");
    CHECK(make_error_code(StreamErrc::truncated).message() ==
          "The TLS connection has ended without a close_notify");
  }

  // ---- what can be agreed on

  TEST_CASE("SSLContext.set_alpn_protocols: the first of the client's that the server has") {
    const auto agree = [](std::vector<std::string> servers, std::vector<std::string> clients) {
      test::Loop loop;
      SSLContext server = server_context();
      server.set_alpn_protocols(servers);
      SSLContext client = client_context();
      client.set_alpn_protocols(clients);
      const auto [a, b] = make_tls_pair({}, server, client);
      CHECK(a.selected_alpn_protocol() == b.selected_alpn_protocol());
      return a.selected_alpn_protocol();
    };
    CHECK(agree({"http/1.1", "h2"}, {"h2", "http/1.1"}) == "h2");
    CHECK(agree({"http/1.1"}, {"h2", "http/1.1"}) == "http/1.1");
    CHECK(agree({"http/1.1"}, {"h2"}).empty());
    CHECK(agree({}, {"h2"}).empty());
    CHECK(agree({"h2"}, {}).empty());
    CHECK_THROWS_AS(SSLContext::client().set_alpn_protocols({""}), std::invalid_argument);
    CHECK_THROWS_AS(SSLContext::client().set_alpn_protocols({std::string(256, 'x')}),
                    std::invalid_argument);
  }

  TEST_CASE("SSLContext.set_minimum_version: of both, and nothing in common") {
    SSLContext old = server_context();
    old.set_maximum_version(TLSVersion::TLSv1_2);
    {
      test::Loop loop;
      const auto [a, b] = make_tls_pair({}, old);
      CHECK(a.version() == "TLSv1.2");
      a.write("x");
      CHECK(result(loop, b.read_bytes(1)) == "x");
    }
    SSLContext strict = client_context();
    strict.set_minimum_version(TLSVersion::TLSv1_3);
    test::Loop loop;
    const EchoServer server(old);
    const test::ExpectLog log(log::gen_log, "unsupported protocol", LogLevel::warning);
    const auto error = why_closed(loop, new_client(strict).connect(server.address(), "localhost"));
    CHECK(error.category() == ssl_category());
    CHECK(error.message() == "tlsv1 alert protocol version");
  }

  TEST_CASE("SSLIOStream.session: resumed in a later connection") {
    for (const TLSVersion version : {TLSVersion::TLSv1_2, TLSVersion::TLSv1_3}) {
      test::Loop loop;
      SSLContext context = server_context();
      context.set_maximum_version(version);
      const EchoServer server(context);
      const auto first = new_client();
      result(loop, first.connect(server.address(), "localhost"));
      test::echoed(loop, first, "x");
      const SSLSession session = first.session();
      CHECK(session);
      first.close();
      const auto second = new_client();
      result(loop, second.connect(server.address(), "localhost", session));
      CHECK(second.session_reused());
      CHECK(test::echoed(loop, second, "x") == "x\n");
      CHECK(server.streams.at(1).session_reused());
    }
  }

  TEST_CASE("SSLContext.set_num_tickets: none, and then no session cache either") {
    test::Loop loop;
    SSLContext context = server_context();
    context.set_num_tickets(0);
    context.set_session_cache_size(0);
    const EchoServer server(context);
    const auto client = new_client();
    result(loop, client.connect(server.address(), "localhost"));
    test::echoed(loop, client, "x");
    CHECK_FALSE(client.session());
  }

  TEST_CASE("SSLContext.set_sni_callback: chooses the certificate by the name") {
    test::Loop loop;
    const SSLContext other = server_context(issue({"DNS:other.example.com"}));
    SSLContext context = server_context();
    std::vector<std::string> names;
    context.set_sni_callback([&](std::string_view name) {
      names.emplace_back(name);
      if (name == "error.example.com") throw std::runtime_error("who is that");
      return name == "other.example.com" ? other : SSLContext();
    });
    const EchoServer server(context);
    const auto subject = [&](const std::string& name) {
      const auto client = new_client();
      result(loop, client.connect(server.address(), name));
      test::echoed(loop, client, "x");
      return client.peer_certificate().value().subject_alt_names.front();
    };
    CHECK(subject("other.example.com") == "DNS:other.example.com");
    CHECK(subject("localhost") == "DNS:localhost");
    CHECK(subject("127.0.0.1") == "DNS:localhost");
    CHECK(names == std::vector<std::string>{"other.example.com", "localhost", ""});

    const test::ExpectLog logged(log::app_log, "Error in an SNI callback");
    const test::ExpectLog warned(log::gen_log, "SSL Error", LogLevel::warning);
    const auto client = new_client();
    CHECK(why_closed(loop, client.connect(server.address(), "error.example.com")).category() ==
          ssl_category());
  }

  // ---- loops and threads

  TEST_CASE("SSLContext: one for the loops of several threads") {
    const SSLContext server = server_context();
    const SSLContext client = client_context();
    const auto work = [&] {
      test::Loop loop;
      for (int i = 0; i < 10; ++i) {
        const auto [a, b] = make_tls_pair({}, server, client);
        a.write("hello\n");
        if (result(loop, b.read_until("\n")) != "hello\n") throw std::runtime_error("hello");
      }
    };
    std::thread one(work);
    std::thread two(work);
    one.join();
    two.join();
  }

  TEST_CASE("SSLIOStream: outlives its loop, as a handle") {
    std::optional<SSLIOStream> stream;
    {
      test::Loop loop;
      auto [a, b] = make_tls_pair();
      stream = a;
    }
    CHECK(stream->closed());
    CHECK(stream->version().empty());
    CHECK_FALSE(stream->session());
    CHECK(stream->native_handle() == nullptr);
  }

  TEST_CASE("SSLIOStream: its loop is closed during the handshake") {
    for (int steps = 0; steps < 10; ++steps) {
      test::Loop loop;
      const EchoServer server;
      const auto client = new_client();
      const auto connected = client.connect(server.address(), "localhost");
      client.set_close_callback([] {});
      loop.iterate(steps);
    }
  }

  // ---- TCPClient and TCPServer

  TEST_CASE("TCPClient.connect: with TLS, the host is the server_hostname") {
    test::Loop loop;
    const EchoServer server;
    const TCPClient client;
    const auto port = server.address().port();
    const SSLIOStream stream = result(loop, client.connect("localhost", port, client_context()));
    CHECK(test::echoed(loop, stream, "x") == "x\n");
    CHECK(server.streams.at(0).server_name() == "localhost");
    const test::TemporaryFile ca(test::authority().certificate());
    result(loop, client.connect("127.0.0.1", port, SSLOptions{.ca_certs = ca.path()}));

    const test::ExpectLog log(log::gen_log, "SSL Error", LogLevel::warning);
    CHECK(why_closed(loop, client.connect("localhost", port, SSLContext())) ==
          test::verify_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
    wait_until(loop, [&] { return server.streams.size() == 3 && server.streams[2].closed(); });
    CHECK_THROWS_AS(static_cast<void>(client.connect("localhost", port, server_context())),
                    std::invalid_argument);
  }

  TEST_CASE("TCPClient.connect: the timeout covers the handshake (C3)") {
    test::Loop loop;
    std::vector<IOStream> streams;
    test::Server server([&](IOStream stream, Address) {
      streams.push_back(std::move(stream));
      return make_ready_future();
    });
    server.listen(0, "127.0.0.1");
    const TCPClient client;
    const auto connected = client.connect("127.0.0.1", server.address().port(), SSLContext(),
                                          {.timeout = std::chrono::milliseconds(50)});
    CHECK_THROWS_AS(result(loop, connected), TimeoutError);
    result(loop, streams.at(0).read_until_close());  // the client has closed
  }

  TEST_CASE("TCPServer: with SSLOptions") {
    const test::TemporaryFile certificate(test::server_pem().certificate);
    const test::TemporaryFile key(test::server_pem().key);
    test::Loop loop;
    class Server : public TCPServer {
     public:
      using TCPServer::TCPServer;
      ~Server() override { close_all_connections(); }
      Future<void> handle_stream(IOStream stream, Address) override {
        co_await stream.write("hello");
      }
    };
    Server server(SSLOptions{.certfile = certificate.path(), .keyfile = key.path()});
    server.listen(0, "127.0.0.1");
    const auto client = new_client();
    result(loop, client.connect(server.addresses().front(), "localhost"));
    CHECK(result(loop, client.read_until_close()) == "hello");
    CHECK_FALSE(client.error());
  }
}
