// SPDX-License-Identifier: Apache-2.0
#include "faults_support.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

// The function that a function of the same name here hides.
#define REAL(name)                                                                           \
  ([] {                                                                                      \
    static const auto real = reinterpret_cast<decltype(&::name)>(::dlsym(RTLD_NEXT, #name)); \
    return real;                                                                             \
  }())

namespace test::faults {

Counts counts;

namespace {

constexpr int most_descriptors = 1024;

struct Registration {
  int epoll = -1;
  epoll_event event{};
};
// Plain arrays: the functions below are called before and after this file's own constructors.
constinit std::array<Line*, most_descriptors> lines{};
constinit std::array<Registration, most_descriptors> registrations{};

bool in_range(int fd) { return fd >= 0 && fd < most_descriptors; }
Line* line_of(int fd) { return in_range(fd) ? lines[static_cast<std::size_t>(fd)] : nullptr; }

std::vector<Line*>& watched() {
  static std::vector<Line*> all;
  return all;
}

ssize_t fail(int error) {
  errno = error;
  return -1;
}

// Makes the kernel look again, and report what it finds.
void renew(int fd) {
  Registration& registration = registrations[static_cast<std::size_t>(fd)];
  if (registration.epoll < 0) return;
  const int error = errno;
  REAL(epoll_ctl)(registration.epoll, EPOLL_CTL_MOD, fd, &registration.event);
  errno = error;
}

}  // namespace

Line::Line(int fd, const Plan& plan, std::uint64_t seed) : fd_(fd), plan_(plan), random_(seed) {
  lines.at(static_cast<std::size_t>(fd)) = this;
  watched().push_back(this);
}

Line::~Line() {
  if (fd_ >= 0) lines[static_cast<std::size_t>(fd_)] = nullptr;
  std::erase(watched(), this);
}

void Line::closing() {
  if (peer_ != nullptr && peer_->closed()) {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  lines[static_cast<std::size_t>(fd_)] = nullptr;
  registrations[static_cast<std::size_t>(fd_)] = Registration();
  fd_ = -1;
  read_stall_ = write_stall_ = 0;
}

void Line::tick() {
  static_cast<void>(arrives(read_stall_));
  static_cast<void>(arrives(write_stall_));
}

bool Line::arrives(unsigned& stall) {
  if (stall == 0) return true;
  if (--stall > 0) return false;
  renew(fd_);
  return true;
}

void Line::stall(unsigned& stall) {
  stall = static_cast<unsigned>(random_.below(4));
  if (stall == 0) renew(fd_);
}

// The other end is to see that this one has gone, and whoever waits here is woken.
void Line::break_off() {
  ++counts.broken;
  if (plan_.error == 0) {
    ended_ = true;
  } else {
    broken_ = true;
    ::shutdown(fd_, SHUT_RDWR);
  }
}

std::size_t Line::shorten(std::size_t size, std::uint64_t left) {
  std::size_t most = left < size ? static_cast<std::size_t>(left) : size;
  if (most > 1 && random_.chance(plan_.shortened)) {
    ++counts.shortened;
    if (random_.chance(50)) most = std::min<std::size_t>(most, 16);
    most = 1 + random_.below(most);
  }
  return most;
}

ssize_t Line::read(std::size_t size, Call call, void* arguments) {
  if (random_.chance(plan_.interrupted)) {
    ++counts.interrupted;
    return fail(EINTR);
  }
  if (ended_) return 0;
  if (broken_) {
    // What had come before.
    const ssize_t count = call(arguments, size);
    if (count > 0) received_ += static_cast<std::uint64_t>(count);
    if (count > 0) return count;
    if (told_ != 0) return 0;
    return fail(told_ = plan_.error);
  }
  if (!arrives(read_stall_) && !hung_up_) return fail(EAGAIN);
  if (received_ == plan_.read_breaks_at) {
    break_off();
    if (plan_.error == 0) return 0;
    return fail(told_ = plan_.error);
  }
  if (!hung_up_ && random_.chance(plan_.blocked)) {
    ++counts.blocked;
    stall(read_stall_);
    return fail(EAGAIN);
  }
  const std::size_t most = shorten(size, plan_.read_breaks_at - received_);
  const ssize_t count = call(arguments, most);
  if (count <= 0) return count;
  received_ += static_cast<std::uint64_t>(count);
  if (static_cast<std::size_t>(count) == most && most < size) stall(read_stall_);
  return count;
}

ssize_t Line::write(const iovec* vectors, std::size_t vector_count, std::size_t size, Call call,
                    void* arguments) {
  if (random_.chance(plan_.interrupted)) {
    ++counts.interrupted;
    return fail(EINTR);
  }
  if (broken_) {
    if (told_ != 0) return fail(EPIPE);
    return fail(told_ = plan_.error);
  }
  if (!arrives(write_stall_)) return fail(EAGAIN);
  if (sent_ == plan_.write_breaks_at) {
    break_off();
    return fail(told_ = plan_.error);
  }
  if (random_.chance(plan_.blocked)) {
    ++counts.blocked;
    stall(write_stall_);
    return fail(EAGAIN);
  }
  const std::size_t most = shorten(size, plan_.write_breaks_at - sent_);
  const ssize_t count = call(arguments, most);
  if (count < 0) {
    if (errno != EAGAIN) hung_up_ = true;
    return count;
  }
  if (check_ != nullptr) {
    auto rest = static_cast<std::size_t>(count);
    std::uint64_t place = sent_;
    for (std::size_t i = 0; i < vector_count && rest > 0; ++i) {
      const std::size_t part = std::min(rest, vectors[i].iov_len);
      check_(argument_, place, {static_cast<const char*>(vectors[i].iov_base), part});
      place += part;
      rest -= part;
    }
  }
  sent_ += static_cast<std::uint64_t>(count);
  if (static_cast<std::size_t>(count) == most && most < size) stall(write_stall_);
  return count;
}

namespace {

/// The first `size` bytes of `vectors`.
class Vectors {
 public:
  Vectors(const iovec* vectors, std::size_t count) : all_(vectors, vectors + count) {
    for (const iovec& vector : all_) size_ += vector.iov_len;
  }
  std::size_t size() const { return size_; }
  const std::vector<iovec>& all() const { return all_; }
  std::vector<iovec> first(std::size_t size) const {
    std::vector<iovec> result;
    for (iovec vector : all_) {
      vector.iov_len = std::min(vector.iov_len, size);
      size -= vector.iov_len;
      result.push_back(vector);
    }
    return result;
  }

 private:
  std::vector<iovec> all_;
  std::size_t size_ = 0;
};

template <class F>
ssize_t read_call(int fd, std::size_t size, F real) {
  Line* line = line_of(fd);
  if (line == nullptr) return real(size);
  const Line::Call call = [](void* f, std::size_t most) { return (*static_cast<F*>(f))(most); };
  return line->read(size, call, &real);
}

template <class F>
ssize_t write_call(int fd, const iovec* vectors, std::size_t count, std::size_t size, F real) {
  Line* line = line_of(fd);
  if (line == nullptr) return real(size);
  const Line::Call call = [](void* f, std::size_t most) { return (*static_cast<F*>(f))(most); };
  return line->write(vectors, count, size, call, &real);
}

}  // namespace
}  // namespace test::faults

// ---- The C library's functions

using namespace test::faults;

#define INTERPOSED extern "C" __attribute__((visibility("default")))

INTERPOSED ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  return read_call(fd, size, [=](std::size_t most) { return REAL(recv)(fd, buffer, most, flags); });
}
INTERPOSED ssize_t read(int fd, void* buffer, size_t size) {
  return read_call(fd, size, [=](std::size_t most) { return REAL(read)(fd, buffer, most); });
}
INTERPOSED ssize_t readv(int fd, const iovec* vectors, int count) {
  if (line_of(fd) == nullptr) return REAL(readv)(fd, vectors, count);
  const Vectors all(vectors, static_cast<std::size_t>(count));
  return read_call(fd, all.size(), [&](std::size_t most) {
    return REAL(readv)(fd, all.first(most).data(), count);
  });
}
INTERPOSED ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (line_of(fd) == nullptr) return REAL(recvmsg)(fd, message, flags);
  const Vectors all(message->msg_iov, message->msg_iovlen);
  return read_call(fd, all.size(), [&](std::size_t most) {
    std::vector<iovec> first = all.first(most);
    msghdr shorter = *message;
    shorter.msg_iov = first.data();
    return REAL(recvmsg)(fd, &shorter, flags);
  });
}

INTERPOSED ssize_t send(int fd, const void* data, size_t size, int flags) {
  const iovec vector{const_cast<void*>(data), size};
  return write_call(fd, &vector, 1, size,
                    [=](std::size_t most) { return REAL(send)(fd, data, most, flags); });
}
INTERPOSED ssize_t write(int fd, const void* data, size_t size) {
  const iovec vector{const_cast<void*>(data), size};
  return write_call(fd, &vector, 1, size,
                    [=](std::size_t most) { return REAL(write)(fd, data, most); });
}
INTERPOSED ssize_t writev(int fd, const iovec* vectors, int count) {
  if (line_of(fd) == nullptr) return REAL(writev)(fd, vectors, count);
  const Vectors all(vectors, static_cast<std::size_t>(count));
  return write_call(fd, all.all().data(), all.all().size(), all.size(), [&](std::size_t most) {
    return REAL(writev)(fd, all.first(most).data(), count);
  });
}
INTERPOSED ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (line_of(fd) == nullptr) return REAL(sendmsg)(fd, message, flags);
  const Vectors all(message->msg_iov, message->msg_iovlen);
  return write_call(fd, all.all().data(), all.all().size(), all.size(), [&](std::size_t most) {
    std::vector<iovec> first = all.first(most);
    msghdr shorter = *message;
    shorter.msg_iov = first.data();
    return REAL(sendmsg)(fd, &shorter, flags);
  });
}
INTERPOSED ssize_t sendfile(int fd, int file, off_t* offset, size_t size) noexcept {
  return write_call(fd, nullptr, 0, size,
                    [=](std::size_t most) { return REAL(sendfile)(fd, file, offset, most); });
}

INTERPOSED int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  const int result = REAL(epoll_ctl)(epoll, operation, fd, event);
  if (result == 0 && in_range(fd)) {
    registrations[static_cast<std::size_t>(fd)] =
        operation == EPOLL_CTL_DEL ? Registration() : Registration{epoll, *event};
  }
  return result;
}
INTERPOSED int epoll_wait(int epoll, epoll_event* events, int size, int timeout) {
  for (;;) {
    bool stalled = false;
    for (Line* line : watched()) {
      line->tick();
      stalled = stalled || line->stalled();
    }
    const int count = REAL(epoll_wait)(epoll, events, size, stalled ? 0 : timeout);
    if (count != 0 || !stalled || timeout == 0) return count;
  }
}
INTERPOSED int close(int fd) {
  if (Line* line = line_of(fd)) {
    line->closing();
  } else if (in_range(fd)) {
    registrations[static_cast<std::size_t>(fd)] = Registration();
  }
  return REAL(close)(fd);
}
