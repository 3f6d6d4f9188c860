// SPDX-License-Identifier: Apache-2.0
#include "socket_backend.hpp"

#include "descriptor.hpp"
#include "posix_io.hpp"
#include "sigpipe_guard.hpp"

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

void require_stream_socket(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
    throw std::system_error(errno, std::system_category(), "IOStream: the socket");
  }
  if (type != SOCK_STREAM) {
    throw std::system_error(std::make_error_code(std::errc::wrong_protocol_type),
                            "IOStream takes stream sockets only");
  }
}

class SocketBackend final : public ReleasableBackend {
 public:
  SocketBackend(LoopCore& loop, Socket& socket) : descriptor_(loop, socket.native_handle()) {
    static_cast<void>(socket.release());
  }
  ~SocketBackend() override { descriptor_.close(); }

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    return descriptor_.read(result_of([&] { return ::recv(fd(), buffer, size, 0); }));
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

  void wait(Interest interest, Ready ready) override {
    descriptor_.wait(interest, std::move(ready));
  }

  void close_fd() noexcept override { descriptor_.close(); }

  native_handle_type release() override { return descriptor_.release(); }

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
  int fd() const noexcept { return descriptor_.get(); }

  Descriptor descriptor_;
};

}  // namespace

std::unique_ptr<StreamBackend> make_socket_backend(Socket socket) {
  require_stream_socket(socket.native_handle());
  return std::make_unique<SocketBackend>(LoopCore::current(), socket);
}

}  // namespace tornado::detail
