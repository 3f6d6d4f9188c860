// SPDX-License-Identifier: Apache-2.0
//
// tests/faults_support.hpp: makes the system calls of chosen descriptors fail, as a system could.
//
// tests/faults_support.cpp defines the C library's functions anew for the whole program: recv,
// send, readv and so on. For a descriptor that a Line watches they are interrupted, block, do less
// than was asked for, or break, as its Plan says; all others are passed on.
//
// A system that says EAGAIN, or gives less than there is room for, tells later when there is more.
// Asio relies on that (it waits for edges). So both stand for "the rest arrives later": from then
// on the descriptor is stalled, for some calls or turns of the loop, and says EAGAIN to all. At the
// end of the stall its registration with epoll is renewed, which makes the kernel report it as
// ready: for the program that is the edge which the rest of the data causes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <sys/types.h>
#include <sys/uio.h>

namespace test {

/// splitmix64: the same numbers everywhere, and cheap to begin anew.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// 0 to `limit` - 1.
  std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }
  bool chance(unsigned percent) noexcept { return below(100) < percent; }

 private:
  std::uint64_t state_;
};

namespace faults {

constexpr std::uint64_t never = static_cast<std::uint64_t>(-1);

/// What is to happen to a descriptor.
struct Plan {
  // Of a hundred calls.
  unsigned interrupted = 0;
  unsigned blocked = 0;
  unsigned shortened = 0;
  // After so many bytes it breaks.
  std::uint64_t read_breaks_at = never;
  std::uint64_t write_breaks_at = never;
  // With this error; with 0 reading comes to its end.
  int error = 0;
};

/// What has been done to all of them.
struct Counts {
  std::uint64_t interrupted = 0;
  std::uint64_t blocked = 0;
  std::uint64_t shortened = 0;
  std::uint64_t broken = 0;
};
extern Counts counts;

/// Watches a descriptor until it is closed.
class Line {
 public:
  Line(int fd, const Plan& plan, std::uint64_t seed);
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  /// When both are closed, no TCP port remains in TIME_WAIT.
  void set_peer(const Line& peer) noexcept { peer_ = &peer; }
  using Check = void (*)(void* argument, std::uint64_t place, std::string_view data);
  /// Calls `check` with all that is sent, but what is sent from a file.
  void on_sent(Check check, void* argument) noexcept {
    check_ = check;
    argument_ = argument;
  }

  std::uint64_t received() const noexcept { return received_; }
  std::uint64_t sent() const noexcept { return sent_; }
  /// The Plan's error, if a call has returned it.
  int told() const noexcept { return told_; }
  /// Reading came to its end before there was one.
  bool cut() const noexcept { return ended_; }
  bool closed() const noexcept { return fd_ < 0; }

  // For the functions of the C library.
  using Call = ssize_t (*)(void* arguments, std::size_t size);
  ssize_t read(std::size_t size, Call call, void* arguments);
  ssize_t write(const iovec* vectors, std::size_t count, std::size_t size, Call call,
                void* arguments);
  void closing();
  bool stalled() const noexcept { return read_stall_ > 0 || write_stall_ > 0; }
  void tick();

 private:
  bool arrives(unsigned& stall);
  void stall(unsigned& stall);
  void break_off();
  std::size_t shorten(std::size_t size, std::uint64_t left);

  int fd_;
  Plan plan_;
  Random random_;
  const Line* peer_ = nullptr;
  Check check_ = nullptr;
  void* argument_ = nullptr;
  std::uint64_t received_ = 0;
  std::uint64_t sent_ = 0;
  int told_ = 0;
  bool broken_ = false;
  bool hung_up_ = false;  // writing has failed by itself: what can be read has arrived
  bool ended_ = false;
  unsigned read_stall_ = 0;
  unsigned write_stall_ = 0;
};

}  // namespace faults
}  // namespace test
