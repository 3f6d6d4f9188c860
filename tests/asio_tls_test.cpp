// SPDX-License-Identifier: Apache-2.0
//
// asio::ssl::stream over an IOStream, with a TLS peer of Asio's own on another thread.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/asio.hpp"
#include "tornado/tcpclient.hpp"

#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/ssl.hpp>
#include <asio/write.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

using namespace tornado;

namespace {

using asio::ip::tcp;
using Tls = asio::ssl::stream<AsioStream>;

template <auto Write, class... Args>
std::string pem(Args... args) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> memory(BIO_new(BIO_s_mem()), &BIO_free);
  REQUIRE(Write(memory.get(), args...) == 1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

/// A key, and a certificate for "localhost" that it has signed itself.
class Certificate {
 public:
  Certificate() {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair(EVP_EC_gen("P-256"),
                                                                   &EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> cert(X509_new(), &X509_free);
    REQUIRE(pair);
    ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert.get()), 3600);
    X509_set_pubkey(cert.get(), pair.get());
    X509_NAME* const name = X509_get_subject_name(cert.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
    X509_set_issuer_name(cert.get(), name);
    REQUIRE(X509_sign(cert.get(), pair.get(), EVP_sha256()) > 0);
    key = pem<PEM_write_bio_PKCS8PrivateKey>(
        pair.get(), static_cast<const EVP_CIPHER*>(nullptr), static_cast<const char*>(nullptr), 0,
        static_cast<pem_password_cb*>(nullptr), static_cast<void*>(nullptr));
    certificate = pem<PEM_write_bio_X509>(cert.get());
  }
  std::string key;
  std::string certificate;
};

const Certificate& localhost() {
  static const Certificate certificate;
  return certificate;
}

asio::ssl::context server_context() {
  asio::ssl::context context(asio::ssl::context::tls_server);
  context.use_certificate(asio::buffer(localhost().certificate), asio::ssl::context::pem);
  context.use_private_key(asio::buffer(localhost().key), asio::ssl::context::pem);
  return context;
}

asio::ssl::context client_context() {
  asio::ssl::context context(asio::ssl::context::tls_client);
  context.add_certificate_authority(asio::buffer(localhost().certificate));
  context.set_verify_mode(asio::ssl::verify_peer);
  context.set_verify_callback(asio::ssl::host_name_verification("localhost"));
  return context;
}

/// An echo server that blocks, for one client, with nothing of ours in it.
class BlockingServer {
 public:
  BlockingServer()
      : acceptor_(io_, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0)),
        thread_([this] { serve(); }) {}
  ~BlockingServer() { thread_.join(); }
  Address address() const { return Address("127.0.0.1", acceptor_.local_endpoint().port()); }

 private:
  void serve() {
    asio::ssl::context context = server_context();
    asio::ssl::stream<tcp::socket> stream(acceptor_.accept(), context);
    std::error_code error;
    stream.handshake(asio::ssl::stream_base::server, error);
    std::string buffer;
    while (!error) {
      const std::size_t line = asio::read_until(stream, asio::dynamic_buffer(buffer), '\n', error);
      if (error) break;
      asio::write(stream, asio::buffer(buffer, line), error);
      buffer.erase(0, line);
    }
    stream.shutdown(error);
  }

  asio::io_context io_;
  tcp::acceptor acceptor_;
  std::thread thread_;
};

Future<IOStream> connect_to(Address address) {
  IOStream stream(Socket::tcp(AF_INET));
  co_await stream.connect(address);
  co_return stream;
}

Future<void> talk_to(Address address) {
  const IOStream stream = co_await connect_to(address);
  asio::ssl::context context = client_context();
  Tls tls{AsioStream(stream), context};
  co_await tls.async_handshake(asio::ssl::stream_base::client, as_future);
  std::string buffer;
  for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{200'000}}) {
    const std::string line = std::string(size, 'x') + "\n";
    Future<std::size_t> written = asio::async_write(tls, asio::buffer(line), as_future);
    const std::size_t end =
        co_await asio::async_read_until(tls, asio::dynamic_buffer(buffer), '\n', as_future);
    CHECK(buffer.substr(0, end) == line);
    buffer.erase(0, end);
    CHECK(co_await written == line.size());
  }
  co_await tls.async_shutdown(as_future);
}

}  // namespace

TEST_SUITE("asio") {
  TEST_CASE("AsioStream: under asio::ssl::stream, with a peer on a thread") {
    const BlockingServer server;
    test::Loop loop;
    loop.run([&] { return talk_to(server.address()); });
  }

  TEST_CASE("AsioStream: under asio::ssl::stream, on an adapted loop") {
    const BlockingServer server;
    asio::io_context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    const Future<void> done = talk_to(server.address());
    io.run();
    CHECK(test::outcome(done) == "value");
  }

  TEST_CASE("AsioStream: asio::ssl::stream at both ends, and a certificate that is not accepted") {
    test::Loop loop;
    auto [one, two] = test::make_iostream_pair();
    asio::ssl::context server = server_context();
    asio::ssl::context client = client_context();
    client.set_verify_callback(asio::ssl::host_name_verification("example.com"));
    Tls accepted{AsioStream(one), server};
    Tls connected{AsioStream(two), client};
    const Future<void> serving =
        accepted.async_handshake(asio::ssl::stream_base::server, as_future);
    const Future<void> asking =
        connected.async_handshake(asio::ssl::stream_base::client, as_future);
    test::wait_until(loop, [&] { return serving.done() && asking.done(); });
    CHECK(test::outcome(asking).find("certificate verify failed") != std::string::npos);
    CHECK(test::outcome(serving) != "value");
  }

  TEST_CASE("make_ssl_context: SSLIOStream with asio::ssl::context, and a peer of Asio's") {
    const BlockingServer server;
    test::Loop loop;
    asio::ssl::context context = client_context();
    SSLContext ours = make_ssl_context(context);
    CHECK(ours.verify_mode() == CertReqs::required);
    ours.set_check_hostname(false);  // Asio's verify callback does that, and takes common names too
    const SSLIOStream stream(Socket::tcp(AF_INET), ours);
    loop.run([&] { return stream.connect(server.address(), "localhost"); });
    stream.write("hello\n");
    CHECK(loop.run([&] { return stream.read_until("\n"); }) == "hello\n");
  }

  TEST_CASE("make_ssl_context: outlives the asio::ssl::context") {
    test::Loop loop;
    SSLContext server;
    {
      asio::ssl::context context = server_context();
      server = make_ssl_context(context);
      CHECK(server == make_ssl_context(context));
    }
    const auto [a, b] = test::make_tls_pair({}, server, test::careless_context());
    a.write("x");
    CHECK(test::result(loop, b.read_bytes(1)) == "x");
  }

  TEST_CASE("AsioStream: a TLS handshake that is cancelled") {
    test::Loop loop;
    auto [one, two] = test::make_iostream_pair();
    asio::ssl::context client = client_context();
    Tls tls{AsioStream(two), client};
    const Future<void> handshake = tls.async_handshake(asio::ssl::stream_base::client, as_future);
    loop.iterate(3);
    handshake.cancel();
    test::wait_until(loop, [&] { return handshake.done(); });
    CHECK(handshake.cancelled());
  }
}
