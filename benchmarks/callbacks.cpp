// SPDX-License-Identifier: Apache-2.0
//
// What a callback costs here, by IOLoop::add_callback, and by asio::post to an io_context(1): when
// each adds the next, on the loop's thread; and when another thread adds as many as it can, until
// all have run.
#include "callbacks.hpp"

#include <tornado/tornado.hpp>

#include <algorithm>
#include <limits>
#include <thread>

using namespace tornado;

namespace {

constexpr int rounds = 7;

struct Chain {
  int left = callbacks;

  void next() {
    if (--left == 0) {
      IOLoop::current().stop();
    } else {
      IOLoop::current().add_callback([this] { next(); });
    }
  }
};

double chained() {
  Chain chain;
  const auto begin = Clock::now();
  IOLoop::current().add_callback([&chain] { chain.next(); });
  IOLoop::current().start();
  return nanoseconds_each(begin, callbacks);
}

double flood() {
  IOLoop& loop = IOLoop::current();
  int left = callbacks;
  const auto begin = Clock::now();
  std::jthread other([&loop, &left] {
    for (int i = 0; i < callbacks; ++i) {
      loop.add_callback([&loop, &left] {
        if (--left == 0) loop.stop();
      });
    }
  });
  loop.start();
  return nanoseconds_each(begin, callbacks);
}

}  // namespace

int main() {
  constexpr double none = std::numeric_limits<double>::infinity();
  double best[6] = {none, none, none, none, none, none};
  for (int round = 0; round < rounds; ++round) {
    best[0] = std::min(best[0], chained());
    best[1] = std::min(best[1], chained_in_asio(false));
    best[2] = std::min(best[2], chained_in_asio(true));
    best[3] = std::min(best[3], flood());
    best[4] = std::min(best[4], flood_in_asio(false));
    best[5] = std::min(best[5], flood_in_asio(true));
  }
  print_header({"here", "Asio", "Asio+epoll"});
  print_row("add_callback, each by the one before", {best[0], best[1], best[2]});
  print_row("add_callback from another thread", {best[3], best[4], best[5]});
}
