// SPDX-License-Identifier: Apache-2.0
//
// A coroutine echo: a server, and in the same program the client that tries it.
#include <tornado/tornado.hpp>

#include <cstdio>
#include <string>

using namespace tornado;

class EchoServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    try {
      for (;;) {
        std::string line = co_await stream.read_until("\n");
        co_await stream.write(line);
      }
    } catch (const StreamClosedError&) {
    }
  }
};

Future<std::string> ask(Address server, std::string line) {
  IOStream stream = co_await TCPClient().connect("127.0.0.1", server.port());
  co_await stream.write(line);
  co_return co_await stream.read_until("\n");
}

int main() {
  EchoServer server;
  server.listen(0, "127.0.0.1");
  const Address address = server.addresses().front();
  const std::string answer =
      IOLoop::current().run_sync([&] { return ask(address, "hello, tornado\n"); });
  std::printf("%s", answer.c_str());
  return answer == "hello, tornado\n" ? 0 : 1;
}
