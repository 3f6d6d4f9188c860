// SPDX-License-Identifier: Apache-2.0
//
// examples/readme/echo.cpp on asio::awaitable, for scripts/compile-cost.
#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

using asio::ip::tcp;

asio::awaitable<void> handle_stream(tcp::socket socket) {
  try {
    std::string data;
    for (;;) {
      const std::size_t size = co_await asio::async_read_until(socket, asio::dynamic_buffer(data),
                                                               '\n', asio::use_awaitable);
      co_await asio::async_write(socket, asio::buffer(data, size), asio::use_awaitable);
      data.erase(0, size);
    }
  } catch (const std::system_error&) {
  }
}

asio::awaitable<void> listen(tcp::acceptor acceptor) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
    asio::co_spawn(acceptor.get_executor(), handle_stream(std::move(socket)), asio::detached);
  }
}

int main() {
  asio::io_context io;
  asio::co_spawn(io, listen(tcp::acceptor(io, {tcp::v4(), 8888})), asio::detached);
  io.run();
}
