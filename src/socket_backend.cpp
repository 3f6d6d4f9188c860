// SPDX-License-Identifier: Apache-2.0
#include "socket_backend.hpp"

#include "loop_core.hpp"
#include "posix_io.hpp"
#include "sigpipe_guard.hpp"
#include "tornado/asio.hpp"

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/generic/stream_protocol.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#ifdef __linux__
#include <sys/sendfile.h>
#endif
#include <sys/socket.h>
#include <sys/uio.h>

namespace tornado::detail {
namespace {

int protocol_family(const Socket& socket) { return socket.local_address().family(); }

class SocketBackend final : public ReleasableBackend {
 public:
  SocketBackend(LoopCore& loop, Socket socket) : loop_(loop), socket_(loop.io()) {
    int type = 0;
    socklen_t length = sizeof type;
    if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
      throw std::system_error(errno, std::system_category(), "IOStream: the socket");
    }
    if (type != SOCK_STREAM) {
      throw std::system_error(std::make_error_code(std::errc::wrong_protocol_type),
                              "IOStream takes stream sockets only");
    }
    socket_.assign(asio::generic::stream_protocol(protocol_family(socket), 0),
                   socket.native_handle());
    static_cast<void>(socket.release());
  }

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    return result_of([&] { return ::recv(fd(), buffer, size, 0); });
  }

  Result write_to_fd(std::span<const std::string_view> chunks) noexcept override {
    if (chunks.size() == 1) {
      return result_of(
          [&] { return ::send(fd(), chunks[0].data(), chunks[0].size(), MSG_NOSIGNAL); });
    }
    std::array<iovec, 16> room;
    const std::span<iovec> vectors = as_iovecs(chunks, room);
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = vectors.size();
    return result_of([&] { return ::sendmsg(fd(), &message, MSG_NOSIGNAL); });
  }

  std::error_code shutdown_write() noexcept override {
    if (::shutdown(fd(), SHUT_WR) == 0) return {};
    const std::error_code error = last_error();
    // All that is known of a connection that was reset; the reason is kept for who asks.
    const std::error_code reason = error == std::errc::not_connected ? get_fd_error() : error;
    return reason ? reason : error;
  }

  Result write_file(native_handle_type file, std::uint64_t offset,
                    std::size_t length) noexcept override {
#ifdef __linux__
    SigpipeGuard guard;  // sendfile has no MSG_NOSIGNAL
    const Result result = result_of([&] {
      auto position = static_cast<off_t>(offset);
      return ::sendfile(fd(), file, &position, length);
    });
    if (result.error == std::errc::broken_pipe) guard.discard();
    // What the file system cannot do.
    if (result.error != std::errc::invalid_argument &&
        result.error != std::errc::function_not_supported) {
      return result;
    }
#endif
    return StreamBackend::write_file(file, offset, length);
  }

  void wait(Interest interest, std::span<char> early, Ready ready) override {
    if (interest == Interest::write || early.empty()) {
      loop_.with_handler(
          [ready = std::move(ready)](const std::error_code& error) mutable {
            ready(Result(0, translated(error)));
          },
          [this, interest](auto handler) {
            socket_.async_wait(interest == Interest::write ? Native::wait_write : Native::wait_read,
                               std::move(handler));
          });
      return;
    }
    loop_.with_handler(
        [ready = std::move(ready)](const std::error_code& error, std::size_t bytes) mutable {
          if (error == asio::error::eof) {
            ready.end();
          } else {
            ready(Result(bytes, translated(error)));
          }
        },
        [this, early](auto handler) {
          socket_.async_read_some(asio::buffer(early.data(), early.size()), std::move(handler));
        });
  }

  ~SocketBackend() override { close_fd(); }

  void close_fd() noexcept override {
    if (!socket_.is_open()) return;
    loop_.leave_parent();
    std::error_code ignored;
    socket_.close(ignored);
  }

  void cancel_waits() noexcept override {
    std::error_code ignored;
    socket_.cancel(ignored);
  }

  native_handle_type release() override { return socket_.release(); }

  std::error_code connect(const Address& address) noexcept override {
    if (::connect(fd(), static_cast<const sockaddr*>(address.data()),
                  static_cast<socklen_t>(address.size())) == 0 ||
        errno == EINPROGRESS || errno == EINTR) {
      return {};
    }
    return last_error();
  }

  std::error_code get_fd_error() noexcept override {
    int error = 0;
    socklen_t length = sizeof error;
    if (::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
    if (error == 0) return {};
    return {error, std::system_category()};
  }

  native_handle_type fileno() const noexcept override { return fd(); }

 private:
  // Not any_io_executor, whose calls are indirect.
  using Native =
      asio::basic_stream_socket<asio::generic::stream_protocol, asio::io_context::executor_type>;

  // native_handle() is not const in Asio.
  int fd() const noexcept { return const_cast<Native&>(socket_).native_handle(); }

  LoopCore& loop_;  // the stream's, which holds this
  Native socket_;
};

}  // namespace

std::unique_ptr<StreamBackend> make_socket_backend(Socket socket) {
  return std::make_unique<SocketBackend>(LoopCore::current(), std::move(socket));
}

}  // namespace tornado::detail
