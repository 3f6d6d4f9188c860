// SPDX-License-Identifier: Apache-2.0
//
// This library. --variant awaited waits for each write; buffered too, but there a write is done at
// once below the watermark. --loops N: so many loops, each with a thread of its own.
#include "../options.hpp"
#include <tornado/tornado.hpp>

#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;

namespace {

Future<void> echo(IOStream stream) {
  try {
    for (;;) {
      std::string data = co_await stream.read_bytes(65536, Partial::yes);
      stream.write(std::move(data));
    }
  } catch (const StreamClosedError&) {
  }
}

Future<void> echo_awaited(IOStream stream) {
  try {
    for (;;) {
      std::string data = co_await stream.read_bytes(65536, Partial::yes);
      co_await stream.write(std::move(data));
    }
  } catch (const StreamClosedError&) {
  }
}

Future<void> echo_lines(IOStream stream) {
  try {
    for (;;) {
      std::string line = co_await stream.read_until("\n");
      stream.write(std::move(line));
    }
  } catch (const StreamClosedError&) {
  }
}

Future<void> echo_lines_awaited(IOStream stream) {
  try {
    for (;;) {
      std::string line = co_await stream.read_until("\n");
      co_await stream.write(std::move(line));
    }
  } catch (const StreamClosedError&) {
  }
}

class EchoServer : public TCPServer {
 public:
  explicit EchoServer(const Options& options)
      : TCPServer({.buffered_writes = options.variant == "buffered"}),
        lines_(options.lines),
        awaited_(!options.variant.empty()) {}

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    stream.set_nodelay(true);
    if (lines_) return awaited_ ? echo_lines_awaited(stream) : echo_lines(stream);
    return awaited_ ? echo_awaited(stream) : echo(stream);
  }

  const bool lines_;
  const bool awaited_;
};

std::uint16_t listen(EchoServer& server, std::uint16_t port) {
  server.listen(port, "127.0.0.1", {.backlog = 1024, .reuse_port = true});
  return server.addresses().front().port();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Options::parse(argc, argv);
  EchoServer server(options);
  const std::uint16_t port = listen(server, options.port);
  std::vector<std::jthread> others;
  for (int i = 1; i < options.loops; ++i) {
    others.emplace_back([&options, port] {
      EchoServer server_of_thread(options);
      listen(server_of_thread, port);
      IOLoop::current().start();
    });
  }
  say_listening(port);
  IOLoop::current().start();
}
