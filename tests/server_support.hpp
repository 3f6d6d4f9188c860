// SPDX-License-Identifier: Apache-2.0
//
// tests/server_support.hpp: what tests of servers use, beside tests/stream_support.hpp.
#pragma once

#include "stream_support.hpp"
#include "tornado/tcpserver.hpp"

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace test {

/// A server whose handle_stream is a callable of the test's.
class Server : public tornado::TCPServer {
 public:
  using Handler = std::function<tornado::Future<void>(tornado::IOStream, tornado::Address)>;

  explicit Server(Handler handler, const tornado::IOStreamOptions& options = {})
      : tornado::TCPServer(options), handler_(std::move(handler)) {}
  ~Server() override { close_all_connections(); }

  tornado::Address address() const { return addresses().front(); }

 private:
  tornado::Future<void> handle_stream(tornado::IOStream stream, tornado::Address address) override {
    return handler_(std::move(stream), std::move(address));
  }

  Handler handler_;
};

/// The part of Tornado's HelloHandler that tests of streams can see.
class HelloServer : public tornado::TCPServer {
 public:
  HelloServer() { listen(0, "127.0.0.1"); }
  ~HelloServer() override { close_all_connections(); }
  tornado::Address address() const { return addresses().front(); }

 private:
  tornado::Future<void> handle_stream(tornado::IOStream stream, tornado::Address) override {
    co_await stream.read_until("\r\n\r\n");
    stream.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nHello");
  }
};

inline tornado::Future<void> echo(tornado::IOStream stream, tornado::Address) {
  try {
    for (;;) {
      const std::string line = co_await stream.read_until("\n");
      co_await stream.write(line);
    }
  } catch (const tornado::StreamClosedError&) {
  }
}

inline tornado::IOStream connect_to(Loop& loop, const tornado::Address& address) {
  return result(
      loop, tornado::IOStream(address.family() == AF_UNIX ? tornado::Socket::unix_stream()
                                                          : tornado::Socket::tcp(address.family()))
                .connect(address));
}

/// What an echo server sends back.
inline std::string echoed(Loop& loop, const tornado::IOStream& client, const std::string& line) {
  client.write(line + "\n");
  return result(loop, client.read_until("\n"));
}

/// Writes its name to a list when it is destroyed.
class Mourner {
 public:
  Mourner(std::vector<std::string>& gone, std::string name) : gone_(gone), name_(std::move(name)) {}
  Mourner(const Mourner&) = delete;
  Mourner& operator=(const Mourner&) = delete;
  ~Mourner() { gone_.push_back(name_); }

 private:
  std::vector<std::string>& gone_;
  std::string name_;
};

using Names = std::vector<std::string>;

}  // namespace test
