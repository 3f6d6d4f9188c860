// SPDX-License-Identifier: Apache-2.0
#include "descriptor.hpp"

#include "tornado/asio.hpp"

#include <asio/detail/reactor.hpp>
#include <asio/detail/reactor_op.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include <cerrno>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace tornado::detail {
namespace {

/// By Asio's public interface: where it has no reactor (io_uring), or handlers are bound to a
/// strand.
class OperationWatch final : public Descriptor::Watch {
 public:
  OperationWatch(LoopCore& the_loop, int fd) : Watch(the_loop), descriptor_(the_loop.io(), fd) {}

  void wait(Descriptor::Interest interest, Descriptor::Ready ready, bool) override {
    loop.with_handler(
        [ready = std::move(ready)](const std::error_code& error) mutable {
          ready(translated(error));
        },
        [this, interest](auto handler) {
          descriptor_.async_wait(
              interest == Descriptor::Interest::write ? Native::wait_write : Native::wait_read,
              std::move(handler));
        });
  }
  void end() noexcept override { static_cast<void>(descriptor_.release()); }
  void drop() noexcept override { delete this; }

 private:
  using Native = asio::posix::stream_descriptor;

  Native descriptor_;
};

#if defined(ASIO_HAS_IOCP) || defined(ASIO_HAS_IO_URING_AS_DEFAULT)

Descriptor::Watch* watch(LoopCore& loop, int fd) { return new OperationWatch(loop, fd); }

#else

/// By Asio's reactor, the service behind its sockets; what is used of it has been the same from
/// 1.22.1 to 1.38.2. Asio's own operations are allocated each, try first what was just tried here,
/// and where they only wait they ask epoll anew each time. This registers the descriptor once, as
/// Asio does, for edges, and what waits is one object for as long as it lives.
class ReactorWatch final : public Descriptor::Watch {
 public:
  ReactorWatch(LoopCore& the_loop, int fd)
      : Watch(the_loop),
        reactor_(asio::use_service<asio::detail::reactor>(the_loop.io())),
        fd_(fd),
        reader_(*this) {
    const int error = reactor_.register_descriptor(fd, registration_);
    if (error != 0) throw std::system_error(error, std::system_category(), "IOStream: the socket");
  }

  void wait(Descriptor::Interest interest, Descriptor::Ready ready, bool blocked) override {
    const bool reads = interest == Descriptor::Interest::read;
    if (reads && !blocked && is_readable()) {
      // Its edge may have come already.
      loop.post_handler([ready = std::move(ready)]() mutable { ready(); });
      return;
    }
    if (!reads && !writer_) writer_ = std::make_unique<Wait>(*this);
    Wait& wait = reads ? reader_ : *writer_;
    wait.ready.emplace(std::move(ready));
    starting_ = true;
    // Asio tries a read, which is known to be in vain; for a write it has epoll look again.
    reactor_.start_op(reads ? asio::detail::reactor::read_op : asio::detail::reactor::write_op, fd_,
                      registration_, &wait, false, reads);
    starting_ = false;
  }

  void end() noexcept override {
    reactor_.deregister_descriptor(fd_, registration_, false);
    reactor_.cleanup_descriptor_data(registration_);
  }
  void drop() noexcept override {
    dropped_ = true;
    destroy_if_over();
  }

 private:
  class Wait final : public asio::detail::reactor_op {
   public:
    explicit Wait(ReactorWatch& watch) noexcept
        : reactor_op(asio::error_code(), &perform, &complete), watch_(watch) {}

    std::optional<Descriptor::Ready> ready;

   private:
    static status perform(reactor_op* base) {
      return static_cast<Wait*>(base)->watch_.starting_ ? not_done : done;
    }
    /// \param owner  null when the context is being destroyed.
    static void complete(void* owner, asio::detail::operation* base, const asio::error_code&,
                         std::size_t) {
      auto& self = *static_cast<Wait*>(base);
      const std::error_code error = std::exchange(self.ec_, asio::error_code());
      Descriptor::Ready told = std::move(*self.ready);
      self.ready.reset();
      self.watch_.destroy_if_over();
      if (owner != nullptr) told(translated(error));
    }

    ReactorWatch& watch_;
  };

  void destroy_if_over() noexcept {
    if (dropped_ && !reader_.ready && !(writer_ && writer_->ready)) delete this;
  }
  bool is_readable() const noexcept {
    pollfd poll{fd_, POLLIN, 0};
    return ::poll(&poll, 1, 0) != 0;
  }

  asio::detail::reactor& reactor_;
  const int fd_;
  bool starting_ = false;  // a wait
  bool dropped_ = false;
  asio::detail::reactor::per_descriptor_data registration_{};
  Wait reader_;
  std::unique_ptr<Wait> writer_;  // seldom needed
};

Descriptor::Watch* watch(LoopCore& loop, int fd) {
  if (loop.strand()) return new OperationWatch(loop, fd);
  return new ReactorWatch(loop, fd);
}

#endif

}  // namespace

Descriptor::Descriptor(LoopCore& loop, int fd) : watch_(watch(loop, fd)), fd_(fd) {}

void Descriptor::wait(Interest interest, Ready ready) {
  if (is_open()) {
    watch_->wait(interest, std::move(ready), blocked_in_ != 0 && blocked_in_ == turn());
    return;
  }
  loop().post_handler([ready = std::move(ready)]() mutable {
    ready(std::make_error_code(std::errc::operation_canceled));
  });
}

int Descriptor::release() noexcept {
  if (is_open()) watch_->end();
  return std::exchange(fd_, -1);
}

void Descriptor::close() noexcept {
  if (!is_open()) return;
  loop().leave_parent();
  ::close(release());
}

}  // namespace tornado::detail
