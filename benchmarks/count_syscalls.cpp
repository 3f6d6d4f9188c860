// SPDX-License-Identifier: Apache-2.0
//
// Counts the system calls of a server at full speed, as strace cannot, which slows it down until
// its speculative reads succeed:
//
//     LD_PRELOAD=libcount_syscalls.so server
//
// When the program ends, or exit is called, it prints the counts to standard error, one per line.
// Counted is what goes through the C library, of all threads together.
#include <cstdint>
#include <cstdio>

#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

struct Counter {
  const char* name;
  std::uint64_t count;
};

Counter counters[] = {{"epoll_wait", 0}, {"epoll_ctl", 0}, {"recv", 0},    {"recvmsg", 0},
                      {"read", 0},       {"send", 0},      {"sendmsg", 0}, {"write", 0},
                      {"writev", 0},     {"readv", 0}};
enum Index { wait_, ctl_, recv_, recvmsg_, read_, send_, sendmsg_, write_, writev_, readv_ };

template <class F>
F real(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

struct Report {
  ~Report() {
    for (const Counter& counter : counters) {
      if (counter.count > 0) {
        std::fprintf(stderr, "%s %llu\n", counter.name,
                     static_cast<unsigned long long>(counter.count));
      }
    }
  }
} report;

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int epoll_wait(int epoll, epoll_event* events, int size,
                                                      int timeout) {
  static const auto call = real<int (*)(int, epoll_event*, int, int)>("epoll_wait");
  ++counters[wait_].count;
  return call(epoll, events, size, timeout);
}
__attribute__((visibility("default"))) int epoll_ctl(int epoll, int what, int fd,
                                                     epoll_event* event) noexcept {
  static const auto call = real<int (*)(int, int, int, epoll_event*)>("epoll_ctl");
  ++counters[ctl_].count;
  return call(epoll, what, fd, event);
}
__attribute__((visibility("default"))) ssize_t recv(int fd, void* data, size_t size, int flags) {
  static const auto call = real<ssize_t (*)(int, void*, size_t, int)>("recv");
  ++counters[recv_].count;
  return call(fd, data, size, flags);
}
__attribute__((visibility("default"))) ssize_t recvmsg(int fd, msghdr* message, int flags) {
  static const auto call = real<ssize_t (*)(int, msghdr*, int)>("recvmsg");
  ++counters[recvmsg_].count;
  return call(fd, message, flags);
}
__attribute__((visibility("default"))) ssize_t read(int fd, void* data, size_t size) {
  static const auto call = real<ssize_t (*)(int, void*, size_t)>("read");
  ++counters[read_].count;
  return call(fd, data, size);
}
__attribute__((visibility("default"))) ssize_t readv(int fd, const iovec* data, int count) {
  static const auto call = real<ssize_t (*)(int, const iovec*, int)>("readv");
  ++counters[readv_].count;
  return call(fd, data, count);
}
__attribute__((visibility("default"))) ssize_t send(int fd, const void* data, size_t size,
                                                    int flags) {
  static const auto call = real<ssize_t (*)(int, const void*, size_t, int)>("send");
  ++counters[send_].count;
  return call(fd, data, size, flags);
}
__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static const auto call = real<ssize_t (*)(int, const msghdr*, int)>("sendmsg");
  ++counters[sendmsg_].count;
  return call(fd, message, flags);
}
__attribute__((visibility("default"))) ssize_t write(int fd, const void* data, size_t size) {
  static const auto call = real<ssize_t (*)(int, const void*, size_t)>("write");
  ++counters[write_].count;
  return call(fd, data, size);
}
__attribute__((visibility("default"))) ssize_t writev(int fd, const iovec* data, int count) {
  static const auto call = real<ssize_t (*)(int, const iovec*, int)>("writev");
  ++counters[writev_].count;
  return call(fd, data, count);
}

}  // extern "C"
