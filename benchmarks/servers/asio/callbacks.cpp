// SPDX-License-Identifier: Apache-2.0
//
// Asio with callbacks, as its tutorial's async_tcp_echo_server.
#include "../options.hpp"

#include <asio.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

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

}  // namespace

int main(int argc, char** argv) {
  const Options options = Options::parse(argc, argv);
  asio::io_context io(1);
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), options.port});
  say_listening(acceptor.local_endpoint().port());
  accept(acceptor, options);
  io.run();
}
