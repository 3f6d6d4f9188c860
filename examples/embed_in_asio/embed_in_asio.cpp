// SPDX-License-Identifier: Apache-2.0
//
// An Asio application that keeps its io_context, its acceptor and its coroutines, and has one part
// written with Tornado's streams and coroutines.
#include <tornado/asio.hpp>
#include <tornado/tornado.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <fmt/format.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

using namespace std::chrono_literals;
using namespace tornado;
using asio::use_awaitable;
using asio::ip::tcp;

// ---- Tornado's part

// How long somebody has to say something.
constexpr auto patience = 10s;

Future<void> serve(tcp::socket socket) {
  const IOStream stream = make_iostream(std::move(socket));
  try {
    for (;;) {
      const std::string line = co_await gen::with_timeout(patience, stream.read_until("\n"));
      co_await stream.write("You said: " + line);
    }
  } catch (const StreamClosedError&) {
    fmt::print("server: the client has gone\n");
  }
}

Future<int> think(int question) {
  co_await gen::sleep(5ms);
  co_return question * 2;
}

// An Asio timer in a coroutine of ours.
Future<void> tick(asio::io_context& io) {
  asio::steady_timer timer(io);
  for (int i = 1; i <= 2; ++i) {
    timer.expires_after(1ms);
    co_await timer.async_wait(as_future);
    fmt::print("timer: {}\n", i);
  }
}

// ---- The application's

asio::awaitable<void> accept_one(tcp::acceptor& acceptor, IOLoop& loop) {
  tcp::socket socket = co_await acceptor.async_accept(use_awaitable);
  loop.add_callback(serve, std::move(socket));
}

asio::awaitable<void> be_client(tcp::endpoint server) {
  tcp::socket socket(co_await asio::this_coro::executor);
  co_await socket.async_connect(server, use_awaitable);
  std::string answer;
  for (const std::string_view word : {"hello\n", "goodbye\n"}) {
    co_await asio::async_write(socket, asio::buffer(word), use_awaitable);
    const std::size_t size =
        co_await asio::async_read_until(socket, asio::dynamic_buffer(answer), '\n', use_awaitable);
    fmt::print("client: {}", answer.substr(0, size));
    answer.erase(0, size);
  }
}

// A Future in a coroutine of Asio's.
asio::awaitable<void> run_application(tcp::acceptor& acceptor, IOLoop& loop, asio::io_context& io) {
  const int answer = co_await async_wait(think(21), use_awaitable);
  fmt::print("application: the answer is {}\n", answer);
  co_await async_wait(tick(io), use_awaitable);
  asio::co_spawn(io, accept_one(acceptor, loop), asio::detached);
  co_await be_client(acceptor.local_endpoint());
}

int main() {
  asio::io_context io;
  const auto loop = make_ioloop(io);
  tcp::acceptor acceptor(io, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  asio::co_spawn(io, run_application(acceptor, *loop, io), asio::detached);
  io.run();  // until nothing is pending, here and there
  fmt::print("application: done\n");
}
