// SPDX-License-Identifier: Apache-2.0
//
// What a coroutine costs here and in asio::awaitable: calling and awaiting one that is ready, and
// suspending once through the loop. Nanoseconds each, the least of several rounds, the two taking
// turns in one process. Each in a file of its own, as in the programs that use one
// of them: how much g++ inlines depends on what else a file holds.
#include "coroutine.hpp"

#include <tornado/tornado.hpp>

#include <algorithm>
#include <limits>
#include <stdexcept>

using namespace tornado;

namespace {

constexpr int rounds = 7;

[[gnu::noinline]] Future<int> ready(int n) { co_return n; }

Future<double> call_ready() {
  const auto begin = Clock::now();
  int sum = 0;
  for (int i = 0; i < calls; ++i) sum += co_await ready(i & 1);
  if (sum != calls / 2) throw std::logic_error("a result was wrong");
  co_return nanoseconds_each(begin, calls);
}

// A coroutine that waits for a Future which another completes: the way through the turn's queue.
Future<void> wait_for(Future<void> future) { co_await std::move(future); }

Future<double> suspend_once() {
  const auto begin = Clock::now();
  for (int i = 0; i < calls; ++i) {
    Future<void> gate;
    Future<void> waiting = wait_for(gate);
    gate.set_result();
    co_await std::move(waiting);
  }
  co_return nanoseconds_each(begin, calls);
}

}  // namespace

int main() {
  IOLoop& loop = IOLoop::current();
  constexpr double none = std::numeric_limits<double>::infinity();
  double best[4] = {none, none, none, none};
  for (int round = 0; round < rounds; ++round) {
    best[0] = std::min(best[0], loop.run_sync([] { return call_ready(); }));
    best[1] = std::min(best[1], ready_in_asio());
    best[2] = std::min(best[2], loop.run_sync([] { return suspend_once(); }));
    best[3] = std::min(best[3], suspending_in_asio());
  }
  print_header({"here", "Asio"});
  print_row("call and await, ready", {best[0], best[1]});
  print_row("call, suspend once, resume", {best[2], best[3]});
}
