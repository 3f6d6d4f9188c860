// SPDX-License-Identifier: Apache-2.0
//
// Whether timers and descriptors cost the same however many there are: while COUNT wait, call_later
// and remove_timeout of one more, and one event of add_handler. Prints `what count nanoseconds`;
// descriptors as far as the limit of open files allows. (Connections: the workload idle.)
#include "table.hpp"
#include <tornado/tornado.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace tornado;

namespace {

double timer(int count) {
  constexpr int times = 200'000;
  IOLoop loop(IOLoop::MakeCurrent::never);
  std::mt19937 random(1);
  std::uniform_int_distribution<int> seconds(1000, 100'000);
  for (int i = 0; i < count; ++i) loop.call_later(std::chrono::seconds(seconds(random)), [] {});
  std::vector<int> delays(times);
  for (int& delay : delays) delay = seconds(random);
  const auto begin = Clock::now();
  for (const int delay : delays) {
    loop.remove_timeout(loop.call_later(std::chrono::seconds(delay), [] {}));
  }
  return nanoseconds_each(begin, times);
}

/// Each event causes the next, of another descriptor.
double descriptor(int count) {
  constexpr int times = 50'000;
  IOLoop loop(IOLoop::MakeCurrent::never);
  std::mt19937 random(1);
  std::uniform_int_distribution<std::size_t> which(0, static_cast<std::size_t>(count) - 1);
  std::vector<int> all;
  int left = times;
  const std::uint64_t one = 1;
  const auto on_event = [&](int fd, int) {
    std::uint64_t value = 0;
    if (::read(fd, &value, sizeof value) < 0 || --left == 0) return loop.stop();
    if (::write(all[which(random)], &one, sizeof one) < 0) loop.stop();
  };
  for (int i = 0; i < count; ++i) {
    all.push_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    loop.add_handler(all.back(), on_event, IOLoop::READ);
  }
  const auto begin = Clock::now();
  if (::write(all.front(), &one, sizeof one) > 0) loop.start();
  const double result = nanoseconds_each(begin, times);
  for (const int fd : all) {
    loop.remove_handler(fd);
    ::close(fd);
  }
  return result;
}

}  // namespace

int main() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  for (int count = 100; count <= 1'000'000; count *= 10) {
    fmt::print("timer {} {:.1f}\n", count, timer(count));
    if (static_cast<rlim_t>(count) + 100 < limit.rlim_cur) {
      fmt::print("descriptor {} {:.1f}\n", count, descriptor(count));
    }
  }
}
