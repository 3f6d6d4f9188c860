// SPDX-License-Identifier: Apache-2.0
//
// Whom SSLIOStream believes: names, certificates and who has signed them.
#include "ssl_support.hpp"
#include "tornado/iostream.hpp"

#include <openssl/x509_vfy.h>

#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using namespace tornado;
using test::client_context;
using test::connected_sockets;
using test::EchoServer;
using test::issue;
using test::new_client;
using test::result;
using test::server_context;
using test::wait_until;
using test::why_closed;

namespace {

std::error_code why_refused(const test::Pem& pem, const SSLContext& context,
                            const std::string& name) {
  test::Loop loop;
  const EchoServer server(server_context(pem));
  const auto client = new_client(context);
  const test::ExpectLog log(log::gen_log,
                            "SSL Error: TLS connection with 127.0.0.1:", LogLevel::warning);
  const std::error_code error = why_closed(loop, client.connect(server.address(), name));
  CHECK(client.closed());
  CHECK(client.error() == error);
  wait_until(loop, [&] { return !server.streams.empty() && server.streams[0].closed(); });
  return error;
}

}  // namespace

TEST_SUITE("iostream") {
  // Python: iostream_test.TestIOStreamCheckHostname.test_match
  TEST_CASE("SSLIOStream.connect: one of the names of the certificate (S29)") {
    test::Loop loop;
    const EchoServer server;
    const auto client = new_client();
    result(loop, client.connect(server.address(), "foo.example.com"));
    CHECK(server.streams.at(0).server_name() == "foo.example.com");
    const auto dotted = new_client();
    result(loop, dotted.connect(server.address(), "foo.example.com."));
    CHECK(server.streams.at(1).server_name() == "foo.example.com");
  }

  // Python: iostream_test.TestIOStreamCheckHostname.test_no_match
  TEST_CASE("SSLIOStream.connect: another host's certificate (S29, S30)") {
    CHECK(why_refused(test::server_pem(), client_context(), "bar.example.com") ==
          test::verify_error(X509_V_ERR_HOSTNAME_MISMATCH));
    CHECK(why_refused(issue({"IP:127.0.0.2"}), client_context(), "127.0.0.1") ==
          test::verify_error(X509_V_ERR_IP_ADDRESS_MISMATCH));
    // What it is commonly called does not count.
    CHECK(why_refused(issue({}), client_context(), "localhost") ==
          test::verify_error(X509_V_ERR_HOSTNAME_MISMATCH));
    CHECK(why_refused(issue({"DNS:*.example.com"}), client_context(), "a.b.example.com") ==
          test::verify_error(X509_V_ERR_HOSTNAME_MISMATCH));
  }

  // Python: iostream_test.TestIOStreamCheckHostname.test_check_disabled
  TEST_CASE("SSLContext.set_check_hostname: off, any name goes, and none") {
    test::Loop loop;
    const EchoServer server;
    SSLContext context = client_context();
    CHECK(context.check_hostname());
    context.set_check_hostname(false);
    result(loop, new_client(context).connect(server.address(), "bar.example.com"));
    result(loop, new_client(context).connect(server.address()));
    CHECK(server.streams.at(0).server_name() == "bar.example.com");
    CHECK(server.streams.at(1).server_name().empty());
  }

  TEST_CASE("SSLIOStream.connect: an IP address is checked, and not asked for (S29)") {
    test::Loop loop;
    const EchoServer server;
    result(loop, new_client().connect(server.address(), "127.0.0.1"));
    CHECK(server.streams.at(0).server_name().empty());
  }

  TEST_CASE("SSLIOStream.connect: a wildcard certificate") {
    test::Loop loop;
    const EchoServer server(server_context(issue({"DNS:*.example.com"})));
    result(loop, new_client().connect(server.address(), "a.example.com"));
  }

  TEST_CASE("SSLIOStream.connect: a certificate of nobody known, or expired (S29, S30)") {
    CHECK(why_refused(test::self_signed_pem(), client_context(), "localhost") ==
          test::verify_error(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT));
    CHECK(why_refused(test::server_pem(), {}, "localhost") ==
          test::verify_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
    CHECK(why_refused(issue({"DNS:localhost"}, true), client_context(), "localhost") ==
          test::verify_error(X509_V_ERR_CERT_HAS_EXPIRED));
    CHECK(test::verify_error(X509_V_ERR_CERT_HAS_EXPIRED).message() ==
          "certificate verify failed: certificate has expired");
  }

  TEST_CASE("SSLIOStream: a client that verifies has to know whom it expects (S29)") {
    test::Loop loop;
    const EchoServer server;
    const auto client = new_client();
    CHECK_THROWS_AS(client.connect(server.address()), std::invalid_argument);
    CHECK_FALSE(client.closed());
    result(loop, client.connect(server.address(), "localhost"));
    auto [a, b] = connected_sockets();
    CHECK_THROWS_AS(SSLIOStream(std::move(b), client_context()), std::invalid_argument);
    const auto careless = new_client(test::careless_context());
    result(loop, careless.connect(server.address()));
    const SSLIOStream named(Socket::tcp(AF_INET), client_context(), "localhost");
    result(loop, named.IOStream::connect(server.address()));
    CHECK(named.version() == "TLSv1.3");
  }

  TEST_CASE("SSLIOStream: the context of the other side is misuse") {
    test::Loop loop;
    CHECK_THROWS_AS(SSLIOStream(Socket::tcp(AF_INET), server_context()), std::invalid_argument);
    auto [a, b] = connected_sockets();
    CHECK_THROWS_AS(SSLIOStream(std::move(a), ServerSide::yes, client_context()),
                    std::invalid_argument);
    CHECK_THROWS_AS(SSLIOStream(std::move(b), ServerSide::yes, SSLContext()),
                    std::invalid_argument);
    CHECK_THROWS_AS(TCPServer{client_context()}, std::invalid_argument);
    CHECK_THROWS_AS(TCPServer{SSLContext()}, std::invalid_argument);
    const auto [plain, other] = test::make_iostream_pair(test::Transport::tcp);
    CHECK_THROWS_AS(SSLIOStream{plain}, std::invalid_argument);
  }

  TEST_CASE("SSLIOStream: client certificates") {
    SSLContext context = server_context();
    context.load_verify_data(test::authority().certificate());
    context.set_verify_mode(CertReqs::required);
    test::CertificateRequest request;
    request.common_name = "a client";
    request.for_client = true;
    const test::Pem pem = test::authority().issue(request);
    SSLContext known = client_context();
    known.load_cert_chain_data(pem.certificate, pem.key);
    {
      test::Loop loop;
      const EchoServer server(context);
      const auto client = new_client(known);
      result(loop, client.connect(server.address(), "localhost"));
      CHECK(test::echoed(loop, client, "x") == "x\n");
      CHECK(server.streams.at(0).peer_certificate().value().subject == "CN=a client");
    }
    {
      // With TLS 1.3 the client is done before the server has seen that there is none.
      test::Loop loop;
      const EchoServer server(context);
      const test::ExpectLog log(log::gen_log, "peer did not return a certificate",
                                LogLevel::warning);
      const auto client = new_client();
      result(loop, client.connect(server.address(), "localhost"));
      const std::error_code error = why_closed(loop, client.read_until("\n"));
      CHECK(error.category() == ssl_category());
      CHECK(error.message().find("certificate required") != std::string::npos);
    }
    {
      test::Loop loop;
      context.set_verify_mode(CertReqs::optional);
      CHECK(context.verify_mode() == CertReqs::optional);
      const EchoServer server(context);
      const auto client = new_client();
      result(loop, client.connect(server.address(), "localhost"));
      CHECK(test::echoed(loop, client, "x") == "x\n");
      CHECK_FALSE(server.streams.at(0).peer_certificate());
    }
  }
}
