// SPDX-License-Identifier: Apache-2.0
#include <tornado/tornado.hpp>

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

int main() {
  EchoServer server;
  server.listen(8888);
  IOLoop::current().start();
}
