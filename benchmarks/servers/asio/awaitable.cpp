// SPDX-License-Identifier: Apache-2.0
//
// Asio with asio::awaitable, as its example echo_server of C++20.
#include "../options.hpp"

#include <asio.hpp>

#include <exception>
#include <string>
#include <utility>
#include <vector>

using asio::ip::tcp;

namespace {

asio::awaitable<void> echo(tcp::socket socket, std::size_t size) {
  try {
    std::vector<char> data(size);
    for (;;) {
      const std::size_t count =
          co_await socket.async_read_some(asio::buffer(data), asio::use_awaitable);
      co_await asio::async_write(socket, asio::buffer(data, count), asio::use_awaitable);
    }
  } catch (const std::system_error&) {
  }
}

asio::awaitable<void> echo_lines(tcp::socket socket) {
  try {
    std::string data;
    for (;;) {
      const std::size_t count = co_await asio::async_read_until(socket, asio::dynamic_buffer(data),
                                                                '\n', asio::use_awaitable);
      co_await asio::async_write(socket, asio::buffer(data.data(), count), asio::use_awaitable);
      data.erase(0, count);
    }
  } catch (const std::system_error&) {
  }
}

asio::awaitable<void> listen(tcp::acceptor& acceptor, const Options& options) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
    socket.set_option(tcp::no_delay(true));
    if (options.lines) {
      asio::co_spawn(acceptor.get_executor(), echo_lines(std::move(socket)), asio::detached);
    } else {
      asio::co_spawn(acceptor.get_executor(), echo(std::move(socket), options.buffer),
                     asio::detached);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Options::parse(argc, argv);
  asio::io_context io(1);
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), options.port});
  say_listening(acceptor.local_endpoint().port());
  asio::co_spawn(io, listen(acceptor, options), asio::detached);
  io.run();
}
