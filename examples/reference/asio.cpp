// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/asio.hpp>; docs/reference/asio.md quotes them.
#include <tornado/asio.hpp>
#include <tornado/tornado.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read_until.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <fmt/format.h>

#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

using namespace std::chrono_literals;
using namespace tornado;
using asio::ip::tcp;

Future<std::string> greet(std::string name) {
  co_await gen::sleep(1ms);
  co_return "Hello, " + name;
}

void adapt() {
  asio::io_context io;
  const auto loop = make_ioloop(io);
  loop->add_callback([]() -> Future<void> {
    const std::string greeting = co_await greet("loop");
    fmt::print("{}\n", greeting);
  });
  asio::post(io, [] { fmt::print("a handler of the program's own\n"); });
  io.run();  // returns when nothing is pending
}

void adapt_a_strand() {
  asio::io_context io;
  const auto loop = make_ioloop(asio::make_strand(io));
  int count = 0;  // needs no lock
  for (int i = 0; i < 100; ++i) loop->add_callback([&count] { ++count; });
  std::thread other([&io] { io.run(); });
  io.run();
  other.join();
  fmt::print("{} callbacks, on two threads\n", count);
}

Future<void> wait_for_asio(IOLoop& loop) {
  asio::steady_timer timer(get_executor(loop), 1h);
  try {
    co_await gen::timeout_after(1ms, [&timer] { return timer.async_wait(as_future); });
  } catch (const TimeoutError&) {
    fmt::print("the timer was cancelled\n");
  }
}

Future<void> see_an_error(IOLoop& loop, tcp::endpoint nobody) {
  tcp::socket socket(get_io_context(loop));
  try {
    co_await socket.async_connect(nobody, as_future);
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::connection_refused) fmt::print("refused\n");
  }
}

asio::awaitable<void> wait_for_tornado() {
  const std::string greeting = co_await async_wait(greet("awaitable"), asio::use_awaitable);
  fmt::print("{}\n", greeting);
}

Future<void> in_and_out(tcp::socket socket, tcp::socket peer) {
  const IOStream stream = make_iostream(std::move(socket));
  const std::string request = "GET /upgrade\r\n\r\nand more";
  co_await asio::async_write(peer, asio::buffer(request), as_future);
  const std::string head = co_await stream.read_until("\r\n\r\n");
  stream.write("101 Switching Protocols\r\n\r\n");
  auto [raw, received] = co_await release_socket(stream);
  fmt::print("the socket is {}, and {:?} has come\n", raw.is_open() ? "open" : "closed", received);
}

Future<void> use_algorithms(IOStream reader, IOStream writer) {
  AsioStream stream(reader);
  writer.write("one line\nanother\n");
  std::string buffer;
  const std::size_t size =
      co_await asio::async_read_until(stream, asio::dynamic_buffer(buffer), '\n', as_future);
  fmt::print("{} bytes: {}", size, buffer.substr(0, size));
}

void asio_objects(IOLoop& io_loop) {
  asio::steady_timer timer(get_io_context(io_loop), 1ms);
  timer.async_wait([&io_loop](const std::error_code&) {
    fmt::print("Asio's timer, in the loop: {}\n", &IOLoop::current() == &io_loop);
    io_loop.stop();
  });
  io_loop.start();
}

int main() {
  adapt();
  adapt_a_strand();

  IOLoop& loop = IOLoop::current();
  asio::io_context& io = get_io_context(loop);
  tcp::acceptor acceptor(io, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  const auto connect = [&] {
    tcp::socket socket(io);
    socket.connect(acceptor.local_endpoint());
    return std::pair(std::move(socket), acceptor.accept());
  };
  asio_objects(loop);
  loop.run_sync([&] { return wait_for_asio(loop); });
  loop.run_sync([&] { return asio::co_spawn(io, wait_for_tornado(), as_future); });
  loop.run_sync([&] {
    auto [one, two] = connect();
    return in_and_out(std::move(one), std::move(two));
  });
  loop.run_sync([&] {
    auto [one, two] = connect();
    return use_algorithms(make_iostream(std::move(one)), make_iostream(std::move(two)));
  });
  const tcp::endpoint nobody = acceptor.local_endpoint();
  acceptor.close();
  loop.run_sync([&] { return see_an_error(loop, nobody); });
}
