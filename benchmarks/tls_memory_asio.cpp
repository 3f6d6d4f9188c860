// SPDX-License-Identifier: Apache-2.0
//
// The server of tls_memory with asio::ssl::stream.
#include "tls_memory.hpp"

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/ssl.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>

namespace {

using asio::ip::tcp;

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {}

  void start() {
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [self = shared_from_this()](std::error_code error) {
                              if (!error) self->read();
                            });
  }

 private:
  void read() {
    asio::async_read_until(stream_, asio::dynamic_buffer(buffer_), '\n',
                           [self = shared_from_this()](std::error_code error, std::size_t size) {
                             if (!error) self->write(size);
                           });
  }
  void write(std::size_t size) {
    asio::async_write(stream_, asio::buffer(buffer_, size),
                      [self = shared_from_this(), size](std::error_code error, std::size_t) {
                        if (error) return;
                        self->buffer_.erase(0, size);
                        self->read();
                      });
  }

  asio::ssl::stream<tcp::socket> stream_;
  std::string buffer_;
};

}  // namespace

void serve_asio(const std::string& certificate, const std::string& key,
                const std::function<void(std::uint16_t)>& listening,
                const std::function<bool()>& stop) {
  asio::io_context io;
  asio::ssl::context context(asio::ssl::context::tls_server);
  context.use_certificate_chain(asio::buffer(certificate));
  context.use_private_key(asio::buffer(key), asio::ssl::context::pem);
  tcp::acceptor acceptor(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  std::function<void()> accept = [&] {
    acceptor.async_accept([&](std::error_code error, tcp::socket socket) {
      if (error) return;
      std::make_shared<Session>(std::move(socket), context)->start();
      accept();
    });
  };
  accept();
  asio::steady_timer timer(io);
  std::function<void()> tick = [&] {
    timer.expires_after(std::chrono::milliseconds(20));
    timer.async_wait([&](std::error_code) {
      if (stop()) {
        io.stop();
      } else {
        tick();
      }
    });
  };
  tick();
  listening(acceptor.local_endpoint().port());
  io.run();
}
