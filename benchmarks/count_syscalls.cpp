// SPDX-License-Identifier: Apache-2.0
//
// Counts the system calls of a server at full speed, as strace cannot, which slows it down until
// its speculative reads succeed:
//
//     LD_PRELOAD=libcount_syscalls.so COUNT_SYSCALLS=FILE server
//
// FILE has to be there; it is mapped, so that others see the counts while the server runs. Counted
// is what goes through the C library, of all threads together.
#include "syscall_count.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

constexpr std::size_t most = 32;  // functions

SyscallCount* map_file() {
  static SyscallCount nowhere[most];
  const char* name = std::getenv("COUNT_SYSCALLS");
  if (name == nullptr) return nowhere;
  const int fd = ::open(name, O_RDWR | O_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, sizeof nowhere) != 0) {
    std::perror(name);
    std::exit(1);
  }
  void* memory = ::mmap(nullptr, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory == MAP_FAILED) {
    std::perror(name);
    std::exit(1);
  }
  return static_cast<SyscallCount*>(memory);
}

std::uint64_t& counter_of(const char* function) {
  static SyscallCount* const counters = map_file();
  static std::size_t used = 0;
  SyscallCount& counter = counters[used++];
  std::strncpy(counter.name, function, sizeof counter.name - 1);
  return counter.count;
}

}  // namespace

// The C library's function of this name, counted.
#define COUNTED(result, name, parameters, ...)                                                  \
  extern "C" __attribute__((visibility("default"))) result name parameters {                    \
    static const auto call = reinterpret_cast<result(*) parameters>(::dlsym(RTLD_NEXT, #name)); \
    static std::uint64_t& counter = counter_of(#name);                                          \
    __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);                                          \
    return call(__VA_ARGS__);                                                                   \
  }

COUNTED(int, epoll_wait, (int epoll, epoll_event* events, int size, int timeout), epoll, events,
        size, timeout)
COUNTED(int, epoll_pwait,
        (int epoll, epoll_event* events, int size, int timeout, const sigset_t* mask), epoll,
        events, size, timeout, mask)
COUNTED(int, epoll_ctl, (int epoll, int what, int fd, epoll_event* event) noexcept, epoll, what, fd,
        event)
COUNTED(int, timerfd_settime, (int fd, int flags, const itimerspec* time, itimerspec* old) noexcept,
        fd, flags, time, old)
COUNTED(ssize_t, recv, (int fd, void* data, size_t size, int flags), fd, data, size, flags)
COUNTED(ssize_t, recvfrom,
        (int fd, void* data, size_t size, int flags, sockaddr* from, socklen_t* length), fd, data,
        size, flags, from, length)
COUNTED(ssize_t, recvmsg, (int fd, msghdr* message, int flags), fd, message, flags)
COUNTED(ssize_t, read, (int fd, void* data, size_t size), fd, data, size)
COUNTED(ssize_t, readv, (int fd, const iovec* data, int count), fd, data, count)
COUNTED(ssize_t, send, (int fd, const void* data, size_t size, int flags), fd, data, size, flags)
COUNTED(ssize_t, sendto,
        (int fd, const void* data, size_t size, int flags, const sockaddr* to, socklen_t length),
        fd, data, size, flags, to, length)
COUNTED(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), fd, message, flags)
COUNTED(ssize_t, write, (int fd, const void* data, size_t size), fd, data, size)
COUNTED(ssize_t, writev, (int fd, const iovec* data, int count), fd, data, count)

extern "C" __attribute__((visibility("default"))) int ioctl(int fd, unsigned long request,
                                                            ...) noexcept {
  static const auto call =
      reinterpret_cast<int (*)(int, unsigned long, void*)>(::dlsym(RTLD_NEXT, "ioctl"));
  static std::uint64_t& counter = counter_of("ioctl");
  __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return call(fd, request, argument);
}
