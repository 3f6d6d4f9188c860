// SPDX-License-Identifier: Apache-2.0
//
// Asio with callbacks, as its tutorial's async_tcp_echo_server. --loops N: so many contexts, each
// with a thread of its own.
#include "../options.hpp"

#include <asio.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/socket.h>

using asio::ip::tcp;

namespace {

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::size_t buffer) : socket_(std::move(socket)), data_(buffer) {
    socket_.set_option(tcp::no_delay(true));
  }

  void read() {
    socket_.async_read_some(asio::buffer(data_),
                            [self = shared_from_this()](std::error_code error, std::size_t count) {
                              if (!error) self->write(count);
                            });
  }

 private:
  void write(std::size_t count) {
    asio::async_write(socket_, asio::buffer(data_, count),
                      [self = shared_from_this()](std::error_code error, std::size_t) {
                        if (!error) self->read();
                      });
  }

  tcp::socket socket_;
  std::vector<char> data_;
};

class LineSession : public std::enable_shared_from_this<LineSession> {
 public:
  explicit LineSession(tcp::socket socket) : socket_(std::move(socket)) {
    socket_.set_option(tcp::no_delay(true));
  }

  void read() {
    asio::async_read_until(socket_, asio::dynamic_buffer(data_), '\n',
                           [self = shared_from_this()](std::error_code error, std::size_t count) {
                             if (!error) self->write(count);
                           });
  }

 private:
  void write(std::size_t count) {
    asio::async_write(socket_, asio::buffer(data_.data(), count),
                      [self = shared_from_this()](std::error_code error, std::size_t sent) {
                        if (error) return;
                        self->data_.erase(0, sent);
                        self->read();
                      });
  }

  tcp::socket socket_;
  std::string data_;
};

void accept(tcp::acceptor& acceptor, const Options& options) {
  acceptor.async_accept([&](std::error_code error, tcp::socket socket) {
    if (!error) {
      if (options.lines) {
        std::make_shared<LineSession>(std::move(socket))->read();
      } else {
        std::make_shared<Session>(std::move(socket), options.buffer)->read();
      }
    }
    accept(acceptor, options);
  });
}

tcp::acceptor listen(asio::io_context& io, std::uint16_t port) {
  const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port);
  tcp::acceptor acceptor(io, endpoint.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  const int on = 1;
  ::setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  acceptor.bind(endpoint);
  acceptor.listen();
  return acceptor;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Options::parse(argc, argv);
  asio::io_context io(1);
  tcp::acceptor acceptor = listen(io, options.port);
  const std::uint16_t port = acceptor.local_endpoint().port();
  accept(acceptor, options);
  std::vector<std::jthread> others;
  for (int i = 1; i < options.loops; ++i) {
    others.emplace_back([&options, port] {
      asio::io_context io_of_thread(1);
      tcp::acceptor acceptor_of_thread = listen(io_of_thread, port);
      accept(acceptor_of_thread, options);
      io_of_thread.run();
    });
  }
  say_listening(port);
  io.run();
}
