// SPDX-License-Identifier: Apache-2.0
#include "pipe_backend.hpp"

#include "descriptor.hpp"
#include "posix_io.hpp"
#include "sigpipe_guard.hpp"

#include <fmt/format.h>

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

class PipeBackend final : public StreamBackend {
 public:
  /// `fd` can be polled.
  PipeBackend(LoopCore& loop, int fd)
      : descriptor_(loop, fd), write_only_((set_up(fd) & O_ACCMODE) == O_WRONLY) {}
  ~PipeBackend() override {
    if (owns_) descriptor_.close();
  }
  void take_ownership() noexcept { owns_ = true; }

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    if (write_only_) return read_at_writing_end();
    return descriptor_.read(result_of([&] { return ::read(fd(), buffer, size); }));
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

  void wait(Interest interest, Ready ready) override {
    if (interest == Interest::read && write_only_) {
      reader_.emplace(std::move(ready));
      ready = reader_->for_layer(*this, interest);
    }
    descriptor_.wait(interest, std::move(ready));
  }
  void on_lower_ready(Interest, std::error_code) override {
    // Else it is a terminal with input, opened for writing only: nothing ends that wait.
    if (!descriptor_.is_open() || has_hung_up()) (*std::exchange(reader_, std::nullopt))();
  }

  /// Of a pipe that can only be written to, that is all there was.
  std::error_code shutdown_write() noexcept override {
    if (write_only_) {
      descriptor_.close();
    } else if (::shutdown(fd(), SHUT_WR) != 0) {
      return errno == ENOTSOCK ? std::make_error_code(std::errc::operation_not_supported)
                               : last_error();
    }
    return {};
  }

  void close_fd() noexcept override {
    descriptor_.close();
    const auto given_up = std::exchange(reader_, std::nullopt);
  }

  native_handle_type fileno() const noexcept override { return fd(); }

 private:
  /// There is nothing to read, but that the other end is closed; or this one, by shutdown_write.
  Result read_at_writing_end() const noexcept {
    if (!descriptor_.is_open()) return {0};
    if (has_hung_up()) return {0, {EPIPE, std::system_category()}};
    return {0, std::make_error_code(std::errc::operation_would_block)};
  }
  bool has_hung_up() const noexcept {
    pollfd poll{fd(), 0, 0};
    return ::poll(&poll, 1, 0) == 1;
  }

  int fd() const noexcept { return descriptor_.get(); }

  Descriptor descriptor_;
  bool owns_ = false;
  const bool write_only_;
  std::optional<Ready> reader_;  // of a pipe that can only be written to
};

}  // namespace

IOStream make_pipe_stream(native_handle_type fd, const IOStreamOptions& options) {
  require_pollable(fd);
  auto backend = std::make_unique<PipeBackend>(LoopCore::current(), fd);
  PipeBackend& pipe = *backend;
  IOStream stream(std::move(backend), options);
  pipe.take_ownership();
  return stream;
}

}  // namespace tornado::detail
