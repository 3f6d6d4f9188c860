// SPDX-License-Identifier: Apache-2.0
#include "pipe_backend.hpp"

#include "loop_core.hpp"
#include "posix_io.hpp"
#include "sigpipe_guard.hpp"
#include "socket_backend.hpp"
#include "tornado/asio.hpp"

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace tornado::detail {
namespace {

[[noreturn]] void refuse(int fd, int error, const char* why = "") {
  throw std::system_error(error, std::system_category(),
                          fmt::format("PipeIOStream: descriptor {}{}", fd, why));
}

// Asio takes what epoll refuses (files, /dev/null), and fails only when it comes to waiting.
void require_pollable(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0) refuse(fd, errno);
  if (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)) return;
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) throw std::system_error(errno, std::system_category(), "epoll_create1");
  epoll_event event{};
  const int error = ::epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
  ::close(set);
  if (error == EPERM) refuse(fd, error, " is of a kind that cannot be polled");
  if (error != 0) refuse(fd, error);
}

/// Makes it non-blocking and close-on-exec; gives its status flags.
int set_up(int fd) {
  const int fd_flags = ::fcntl(fd, F_GETFD);
  const int status_flags = ::fcntl(fd, F_GETFL);
  if (fd_flags == -1 || status_flags == -1 || ::fcntl(fd, F_SETFD, fd_flags | FD_CLOEXEC) == -1 ||
      ::fcntl(fd, F_SETFL, status_flags | O_NONBLOCK) == -1) {
    refuse(fd, errno);
  }
  return status_flags;
}

class PipeBackend final : public CancellableBackend {
 public:
  PipeBackend(LoopCore& loop, int fd) : loop_(loop), descriptor_(loop.io()) {
    require_pollable(fd);
    write_only_ = (set_up(fd) & O_ACCMODE) == O_WRONLY;
    std::error_code error;
    descriptor_.assign(fd, error);
    if (error) refuse(fd, error.value());
  }
  ~PipeBackend() override {
    if (owns_) {
      close_fd();
    } else if (descriptor_.is_open()) {
      descriptor_.release();
    }
  }
  void take_ownership() noexcept { owns_ = true; }

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    return result_of([&] { return ::read(fd(), buffer, size); });
  }

  Result write_to_fd(std::span<const std::string_view> chunks) noexcept override {
    std::array<iovec, 16> room;
    const std::span<iovec> vectors = as_iovecs(chunks, room);
    SigpipeGuard guard;  // there is no MSG_NOSIGNAL for pipes
    const Result result =
        result_of([&] { return ::writev(fd(), vectors.data(), static_cast<int>(vectors.size())); });
    if (result.error == std::errc::broken_pipe) guard.discard();
    return result;
  }

  void wait(Interest interest, std::span<char> early, Ready ready) override {
    if (interest == Interest::read && write_only_) {
      wait_for_reader_to_go(std::move(ready));
    } else if (interest == Interest::write || early.empty()) {
      loop_.with_handler(
          [ready = std::move(ready)](const std::error_code& error) mutable {
            ready(Result(0, translated(error)));
          },
          [this, interest](auto handler) {
            descriptor_.async_wait(
                interest == Interest::write ? Native::wait_write : Native::wait_read,
                std::move(handler));
          });
    } else {
      loop_.with_handler(
          [ready = std::move(ready)](const std::error_code& error, std::size_t bytes) mutable {
            if (error == asio::error::eof) {
              ready.end();
            } else {
              ready(Result(bytes, translated(error)));
            }
          },
          [this, early](auto handler) {
            descriptor_.async_read_some(asio::buffer(early.data(), early.size()),
                                        std::move(handler));
          });
    }
  }

  /// Of a pipe that can only be written to, that is all there was.
  std::error_code shutdown_write() noexcept override {
    if (write_only_) {
      close_descriptor();
    } else if (::shutdown(fd(), SHUT_WR) != 0) {
      return errno == ENOTSOCK ? std::make_error_code(std::errc::operation_not_supported)
                               : last_error();
    }
    return {};
  }

  void close_fd() noexcept override {
    close_descriptor();
    const auto given_up = std::exchange(never_, std::nullopt);
  }

  void cancel_waits() noexcept override {
    std::error_code ignored;
    descriptor_.cancel(ignored);
    if (!never_) return;
    loop_.post_handler([ready = std::move(*std::exchange(never_, std::nullopt))]() mutable {
      ready(Result(0, std::make_error_code(std::errc::operation_canceled)));
    });
  }

  native_handle_type fileno() const noexcept override { return fd(); }

 private:
  using Native = asio::posix::stream_descriptor;

  void close_descriptor() noexcept {
    if (!descriptor_.is_open()) return;
    loop_.leave_parent();
    std::error_code ignored;
    descriptor_.close(ignored);
  }

  /// There is nothing to read at the writing end of a pipe, but that the other end is closed.
  void wait_for_reader_to_go(Ready ready) {
    loop_.with_handler(
        [this, ready = std::move(ready)](const std::error_code& error) mutable {
          if (!descriptor_.is_open()) {
            ready.end();  // by shutdown_write
          } else if (error) {
            ready(Result(0, translated(error)));
          } else if (has_hung_up()) {
            ready(Result(0, {EPIPE, std::system_category()}));
          } else {
            never_.emplace(std::move(ready));  // a terminal with input, opened for writing only
          }
        },
        [this](auto handler) { descriptor_.async_wait(Native::wait_read, std::move(handler)); });
  }
  bool has_hung_up() const noexcept {
    pollfd poll{fd(), 0, 0};
    return ::poll(&poll, 1, 0) == 1;
  }

  // native_handle() is not const in Asio.
  int fd() const noexcept { return const_cast<Native&>(descriptor_).native_handle(); }

  LoopCore& loop_;  // the stream's, which holds this
  Native descriptor_;
  bool owns_ = false;
  bool write_only_ = false;
  std::optional<Ready> never_;  // a wait that nothing can end but closing
};

}  // namespace

IOStream make_pipe_stream(native_handle_type fd, const IOStreamOptions& options) {
  auto backend = std::make_unique<PipeBackend>(LoopCore::current(), fd);
  PipeBackend& pipe = *backend;
  IOStream stream(std::move(backend), options);
  pipe.take_ownership();
  return stream;
}

}  // namespace tornado::detail
