// SPDX-License-Identifier: Apache-2.0
//
// tests/ssl_support.hpp: what tests of SSLIOStream use, beside tests/server_support.hpp.
#pragma once

#include "server_support.hpp"
#include "tornado/iostream.hpp"

#include <string>
#include <utility>
#include <vector>

namespace test {

/// A TLS server that echoes lines.
class EchoServer : public tornado::TCPServer {
 public:
  explicit EchoServer(const tornado::SSLContext& context = server_context())
      : tornado::TCPServer(context) {
    listen(0, "127.0.0.1");
  }
  ~EchoServer() override { close_all_connections(); }
  tornado::Address address() const { return addresses().front(); }
  std::vector<tornado::SSLIOStream> streams;

 private:
  tornado::Future<void> handle_stream(tornado::IOStream stream, tornado::Address address) override {
    streams.emplace_back(stream);
    return echo(std::move(stream), std::move(address));
  }
};

inline tornado::SSLIOStream new_client(const tornado::SSLContext& context = client_context()) {
  return tornado::SSLIOStream(tornado::Socket::tcp(AF_INET), context);
}

inline Pem issue(std::vector<std::string> names, bool expired = false) {
  CertificateRequest request;
  request.alt_names = std::move(names);
  request.expired = expired;
  return authority().issue(request);
}

}  // namespace test
