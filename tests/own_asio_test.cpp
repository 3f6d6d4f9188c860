// SPDX-License-Identifier: Apache-2.0
//
// A shared library, in a program with another Asio, whose classes have other members under the same
// names: CMakeLists.txt says what differs.
#include "tornado/tornado.hpp"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read_until.hpp>
#include <asio/steady_timer.hpp>
#include <asio/version.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;

static_assert(ASIO_VERSION == 999901);
#if defined(ASIO_HAS_EPOLL)
#error "this was to have another reactor than the library"
#endif

namespace {

class EchoServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    for (int i = 0; i < 100; ++i) {
      const std::string line = co_await stream.read_until("\n");
      co_await stream.write(line);
    }
  }
};

/// 100 lines to and fro, by Asio, on a context and a thread of its own.
int exchange(std::uint16_t port) {
  asio::io_context io;
  asio::ip::tcp::socket socket(io);
  asio::steady_timer timer(io);
  std::string received;
  int rounds = 0;
  const auto send = [&](auto&& self) -> void {
    asio::async_write(socket, asio::buffer("line\n", 5), [&, self](std::error_code, std::size_t) {
      asio::async_read_until(socket, asio::dynamic_buffer(received), '\n',
                             [&, self](std::error_code error, std::size_t) {
                               if (error || received != "line\n") return;
                               received.clear();
                               if (++rounds == 100) return;
                               timer.expires_after(rounds % 10 == 0 ? 1ms : 0ms);
                               timer.async_wait([&, self](std::error_code) { self(self); });
                             });
    });
  };
  socket.async_connect({asio::ip::address_v4::loopback(), port}, [&](std::error_code error) {
    if (!error) asio::post(io, [&] { send(send); });
  });
  io.run();
  return rounds;
}

}  // namespace

TEST_SUITE("own_asio") {
  TEST_CASE("a program's Asio and the library's work side by side") {
    auto& loop = IOLoop::current();
    EchoServer server;
    std::vector<Socket> sockets = netutil::bind_sockets(0, "127.0.0.1");
    const std::uint16_t port = sockets.front().local_address().port();
    server.add_sockets(std::move(sockets));
    int rounds = 0;
    std::thread thread([&] {
      rounds = exchange(port);
      loop.add_callback([&loop] { loop.stop(); });
    });
    asio::io_context io;
    asio::steady_timer timer(io, 5ms);
    bool waited = false;
    timer.async_wait([&](std::error_code) { waited = true; });
    loop.add_callback([&] { io.run(); });  // the one inside the other
    loop.start();
    thread.join();
    CHECK(rounds == 100);
    CHECK(waited);
  }
}
