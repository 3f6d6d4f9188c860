// SPDX-License-Identifier: Apache-2.0
//
// SSLContext and SSLOptions: what is loaded from where, and what is refused.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ssl.hpp"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <stdexcept>
#include <string>
#include <system_error>

using namespace tornado;
using netutil::ssl_options_to_context;
using test::make_tls_pair;
using test::result;
using test::server_pem;
using test::TemporaryFile;

namespace {

test::Pem locked_pem() {
  test::CertificateRequest request;
  request.alt_names = {"DNS:localhost"};
  request.password = "secret";
  return test::authority().issue(request);
}

bool works(const SSLContext& server, const SSLContext& client = test::client_context()) {
  test::Loop loop;
  const auto [a, b] = make_tls_pair({}, server, client);
  a.write("x");
  return result(loop, b.read_bytes(1)) == "x";
}

template <class F>
std::error_code error_of(F f, const std::string& about = {}) {
  try {
    f();
  } catch (const IOError& error) {
    CHECK(std::string(error.what()).find(about) != std::string::npos);
    return error.code();
  }
  FAIL_CHECK("no IOError");
  return {};
}

}  // namespace

TEST_SUITE("ssl") {
  TEST_CASE("SSLContext: a handle, of none at first") {
    SSLContext none;
    CHECK_FALSE(none);
    CHECK_THROWS_AS(none.set_ciphers("HIGH"), std::logic_error);
    const SSLContext context = SSLContext::client();
    const SSLContext copy = context;
    CHECK(copy == context);
    CHECK(copy.native_handle() == context.native_handle());
    CHECK_FALSE(SSLContext::client() == context);
  }

  TEST_CASE("SSLContext.client: verifies, and checks names") {
    const SSLContext context = SSLContext::client();
    CHECK(context.verify_mode() == CertReqs::required);
    CHECK(context.check_hostname());
    CHECK(SSL_CTX_get_min_proto_version(static_cast<SSL_CTX*>(context.native_handle())) ==
          TLS1_2_VERSION);
    CHECK(SSLContext::server().verify_mode() == CertReqs::none);
  }

  TEST_CASE("SSLContext.load_cert_chain: from files") {
    const TemporaryFile certificate(server_pem().certificate);
    const TemporaryFile key(server_pem().key);
    const TemporaryFile both(server_pem().certificate + server_pem().key);
    SSLContext context = SSLContext::server();
    context.load_cert_chain(certificate.path(), key.path());
    CHECK(works(context));
    SSLContext other = SSLContext::server();
    other.load_cert_chain(both.path());
    CHECK(works(other));
  }

  TEST_CASE("SSLContext.load_cert_chain: a key with a password, which nobody is asked for") {
    const test::Pem pem = locked_pem();
    const TemporaryFile certificate(pem.certificate);
    const TemporaryFile key(pem.key);
    SSLContext context = SSLContext::server();
    const auto without =
        error_of([&] { context.load_cert_chain(certificate.path(), key.path()); }, key.path());
    CHECK(without.category() == ssl_category());
    const auto wrong = error_of(
        [&] { context.load_cert_chain(certificate.path(), key.path(), "guess"); }, key.path());
    CHECK(wrong.category() == ssl_category());
    context.load_cert_chain(certificate.path(), key.path(), "secret");
    CHECK(works(context));
    SSLContext from_memory = SSLContext::server();
    error_of([&] { from_memory.load_cert_chain_data(pem.certificate, pem.key); });
    from_memory.load_cert_chain_data(pem.certificate, pem.key, "secret");
    CHECK(works(from_memory));
  }

  TEST_CASE("SSLContext.load_cert_chain: files that are not there, or something else") {
    SSLContext context = SSLContext::server();
    const std::string missing = "/nowhere/at/all.crt";
    CHECK(error_of([&] { context.load_cert_chain(missing); }, missing) ==
          std::errc::no_such_file_or_directory);
    CHECK(error_of([&] { context.load_verify_locations(missing); }, missing) ==
          std::errc::no_such_file_or_directory);
    const TemporaryFile text("what is this");
    CHECK(error_of([&] { context.load_cert_chain(text.path()); }, text.path()).category() ==
          ssl_category());
    CHECK(error_of([&] { context.load_verify_locations(text.path()); }, text.path()).category() ==
          ssl_category());
    CHECK(error_of([&] { context.load_verify_data("what is this"); }).category() == ssl_category());
    // Another certificate's key.
    CHECK(error_of([&] {
            context.load_cert_chain_data(server_pem().certificate, test::self_signed_pem().key);
          }).message() == "key values mismatch");
  }

  TEST_CASE("SSLContext.load_verify_locations: a file of several") {
    const test::Authority other("another authority");
    const TemporaryFile file(other.certificate() + test::authority().certificate());
    SSLContext client = ssl_options_to_context({.ca_certs = file.path()}, ServerSide::no);
    CHECK(works(test::server_context(), client));
    SSLContext from_memory = SSLContext::client();
    from_memory.load_verify_data(other.certificate() + test::authority().certificate());
    CHECK(works(test::server_context(), from_memory));
  }

  TEST_CASE("SSLContext.load_cert_chain: with the chain above it") {
    // The chain is what the client has not: here it has all, and gets the whole chain anyway.
    SSLContext server = SSLContext::server();
    server.load_cert_chain_data(server_pem().certificate + test::authority().certificate(),
                                server_pem().key);
    test::Loop loop;
    const auto [a, b] = make_tls_pair({}, server);
    auto* const ssl = static_cast<SSL*>(b.native_handle());
    CHECK(sk_X509_num(SSL_get_peer_cert_chain(ssl)) == 2);
  }

  TEST_CASE("SSLContext.set_ciphers: of TLS 1.2") {
    SSLContext server = test::server_context();
    server.set_maximum_version(TLSVersion::TLSv1_2);
    server.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384");
    test::Loop loop;
    const auto [a, b] = make_tls_pair({}, server);
    CHECK(b.cipher() == "ECDHE-ECDSA-AES256-GCM-SHA384");
    CHECK(error_of([&] { server.set_ciphers("NONSENSE"); }, "NONSENSE").message() ==
          "no cipher match");
  }

  TEST_CASE("ssl_options_to_context: all of the keys") {
    const test::Pem pem = locked_pem();
    const TemporaryFile certificate(pem.certificate);
    const TemporaryFile key(pem.key);
    const TemporaryFile ca(test::authority().certificate());
    const SSLContext server = ssl_options_to_context({.certfile = certificate.path(),
                                                      .keyfile = key.path(),
                                                      .password = "secret",
                                                      .cert_reqs = CertReqs::optional,
                                                      .ca_certs = ca.path(),
                                                      .ciphers = "HIGH",
                                                      .minimum_version = TLSVersion::TLSv1_3,
                                                      .alpn_protocols = {"h2", "http/1.1"}},
                                                     ServerSide::yes);
    CHECK(server.verify_mode() == CertReqs::optional);
    const SSLContext client = ssl_options_to_context(
        {.ca_certs = ca.path(), .alpn_protocols = {"http/1.1"}}, ServerSide::no);
    test::Loop loop;
    const auto [a, b] = make_tls_pair({}, server, client);
    CHECK(b.version() == "TLSv1.3");
    CHECK(b.selected_alpn_protocol() == "http/1.1");
  }

  TEST_CASE("ssl_options_to_context: what contradicts itself") {
    CHECK_THROWS_AS(ssl_options_to_context({}, ServerSide::yes), std::invalid_argument);
    CHECK_THROWS_AS(ssl_options_to_context({.keyfile = "x"}, ServerSide::no),
                    std::invalid_argument);
    const TemporaryFile both(server_pem().certificate + server_pem().key);
    CHECK_THROWS_AS(
        ssl_options_to_context({.certfile = both.path(), .cert_reqs = CertReqs::required},
                               ServerSide::yes),
        std::invalid_argument);
    CHECK(ssl_options_to_context({}, ServerSide::no).verify_mode() == CertReqs::required);
    CHECK(ssl_options_to_context({.cert_reqs = CertReqs::none}, ServerSide::no).verify_mode() ==
          CertReqs::none);
  }
}
