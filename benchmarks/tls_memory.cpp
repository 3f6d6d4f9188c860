// SPDX-License-Identifier: Apache-2.0
//
// The memory of a server's idle TLS connections: bytes for each, with this library and with plain
// asio::ssl::stream.
//
//     tls_memory_benchmark [CONNECTIONS]
//
// Each server is a process of its own, and so is its client, which connects, has one line echoed by
// each connection (TLS 1.3), and leaves them all open. What is counted is the growth of the
// server's proportional set size (PSS), which is what it has in memory and shares with nobody.
#include "tls_memory.hpp"

#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/tcpserver.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <vector>

#include <malloc.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tornado;

namespace {

class EchoServer : public TCPServer {
 public:
  using TCPServer::TCPServer;
  ~EchoServer() override { close_all_connections(); }

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    try {
      for (;;) {
        const std::string line = co_await stream.read_until("\n");
        co_await stream.write(line);
      }
    } catch (const StreamClosedError&) {
    }
  }
};

std::string text_of(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  std::string result(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  return result;
}

/// A certificate, and its key.
std::pair<std::string, std::string> make_certificate() {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  BIO* const first = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(first, certificate);
  BIO* const second = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(second, key, nullptr, nullptr, 0, nullptr, nullptr);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return {text_of(first), text_of(second)};
}

/// Of this process, in bytes.
std::size_t proportional_set_size() {
  ::malloc_trim(0);
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string word; file >> word;) {
    if (word != "Pss:") continue;
    std::size_t kib = 0;
    file >> kib;
    return kib * 1024;
  }
  throw std::runtime_error("no Pss in /proc/self/smaps_rollup");
}

Future<void> connect_all(Address address, int connections, std::vector<SSLIOStream>& streams) {
  const SSLContext context =
      netutil::ssl_options_to_context({.cert_reqs = CertReqs::none}, ServerSide::no);
  for (int i = 0; i < connections; ++i) {
    streams.emplace_back(Socket::tcp(address.family()), context);
    const SSLIOStream stream = streams.back();
    co_await stream.connect(address);
    co_await stream.write("hello\n");
    co_await stream.read_until("\n");
  }
}

/// The client, a process: tells by `done` that all are connected, and ends when `end` does.
void run_client(std::uint16_t port, int connections, int done, int end) {
  IOLoop loop(IOLoop::MakeCurrent::always);
  std::vector<SSLIOStream> streams;
  loop.run_sync([&] { return connect_all(Address("127.0.0.1", port), connections, streams); });
  char byte = 1;
  if (::write(done, &byte, 1) == 1) static_cast<void>(!::read(end, &byte, 1));
}

using Serve = void (*)(const std::string&, const std::string&,
                       const std::function<void(std::uint16_t)>&, const std::function<bool()>&);

class Pipe {
 public:
  Pipe() {
    if (::pipe(ends_) != 0) throw std::runtime_error("pipe");
  }
  int out() const noexcept { return ends_[0]; }
  int in() const noexcept { return ends_[1]; }
  bool readable() const {
    pollfd poll{out(), POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
  }

 private:
  int ends_[2];
};

/// Bytes per connection, of a server in this process.
std::size_t measure(Serve serve, int connections) {
  const auto [certificate, key] = make_certificate();
  const Pipe ports;
  const Pipe done;
  const Pipe end;
  const pid_t client = ::fork();
  if (client == 0) {
    ::close(end.in());
    std::uint16_t port = 0;
    if (::read(ports.out(), &port, sizeof port) != sizeof port) ::_exit(1);
    run_client(port, connections, done.in(), end.out());
    ::_exit(0);
  }
  ::close(done.in());
  std::size_t before = 0;
  std::size_t after = 0;
  const auto listening = [&](std::uint16_t port) {
    before = proportional_set_size();
    if (::write(ports.in(), &port, sizeof port) != sizeof port) std::abort();
  };
  const auto stop = [&] {
    if (!done.readable()) return false;
    after = proportional_set_size();
    return true;
  };
  serve(certificate, key, listening, stop);
  ::close(end.in());
  ::waitpid(client, nullptr, 0);
  return (after - before) / static_cast<std::size_t>(connections);
}

void measure_in_child(const char* name, Serve serve, int connections) {
  std::fflush(nullptr);
  const pid_t process = ::fork();
  if (process == 0) {
    const std::size_t bytes = measure(serve, connections);
    fmt::print("{:<20} {:>7} bytes per connection\n", name, bytes);
    std::fflush(nullptr);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  if (status != 0) fmt::print("{}: failed\n", name);
}

}  // namespace

void serve_tornado(const std::string& certificate, const std::string& key,
                   const std::function<void(std::uint16_t)>& listening,
                   const std::function<bool()>& stop) {
  IOLoop loop(IOLoop::MakeCurrent::always);
  SSLContext context = SSLContext::server();
  context.load_cert_chain_data(certificate, key);
  EchoServer server(context);
  server.listen(0, "127.0.0.1");
  PeriodicCallback tick(
      [&] {
        if (stop()) loop.stop();
      },
      std::chrono::milliseconds(20));
  tick.start();
  listening(server.addresses().front().port());
  loop.start();
}

int main(int argc, char** argv) {
  const int connections = argc > 1 ? std::atoi(argv[1]) : 2000;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  measure_in_child("tornado-asio", serve_tornado, connections);
  measure_in_child("asio::ssl::stream", serve_asio, connections);
}
