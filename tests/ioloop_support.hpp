// SPDX-License-Identifier: Apache-2.0
//
// tests/ioloop_support.hpp: what tests of the loop use, beside tests/loop_support.hpp.
#pragma once

#include "loop_support.hpp"

#include <ctime>
#include <fstream>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

namespace test {

/// Two connected sockets. Python: `socket.socketpair`.
class SocketPair {
 public:
  SocketPair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds_) == 0); }
  ~SocketPair() {
    close_client();
    close_server();
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;

  int client() const { return fds_[0]; }
  int server() const { return fds_[1]; }
  void close_client() { close(fds_[0]); }
  void close_server() { close(fds_[1]); }

 private:
  static void close(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  int fds_[2] = {-1, -1};
};

inline void send(int fd, std::string_view text) {
  CHECK(::send(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
}

/// What the process has in memory, in bytes.
inline long resident_bytes() {
  long pages = 0;
  long resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

/// The processor time that this thread has used: what grows while a loop spins, and not while it
/// sleeps, however busy the machine is.
inline std::chrono::nanoseconds thread_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

/// Calls its function when it, the last of its copies, is destroyed.
inline std::shared_ptr<void> at_end(std::function<void()> function) {
  return {nullptr, [function = std::move(function)](void*) { function(); }};
}

}  // namespace test
