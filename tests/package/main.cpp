// SPDX-License-Identifier: Apache-2.0
//
// A user's first program: an echo server, and a client that says hello to it.
#include <tornado/tornado.hpp>

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

using namespace tornado;

class EchoServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    std::string line = co_await stream.read_until("\n");
    co_await stream.write(line);
  }
};

Future<void> say_hello(std::uint16_t port) {
  TCPClient client;
  IOStream stream = co_await client.connect("127.0.0.1", port);
  co_await stream.write("hello\n");
  std::string line = co_await stream.read_until("\n");
  std::printf("%s", line.c_str());
}

int main() {
  EchoServer server;
  std::vector<Socket> sockets = netutil::bind_sockets(0, "127.0.0.1");  // a port that is free
  const std::uint16_t port = sockets.front().local_address().port();
  server.add_sockets(std::move(sockets));
  IOLoop::current().run_sync([port] { return say_hello(port); });
}
