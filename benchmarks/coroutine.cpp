// SPDX-License-Identifier: Apache-2.0
//
// What a coroutine costs here and in asio::awaitable: calling and awaiting one that is ready, and
// suspending once through the loop. Nanoseconds each, the least of several rounds, the two taking
// turns in one process, and the ratio.
#include <tornado/tornado.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <stdexcept>
#include <utility>

using namespace tornado;

namespace {

using Clock = std::chrono::steady_clock;

constexpr int rounds = 7;
constexpr int count = 2'000'000;

double nanoseconds_each(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / count;
}

[[gnu::noinline]] Future<int> ready(int n) { co_return n; }

Future<double> call_ready() {
  const auto begin = Clock::now();
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await ready(i & 1);
  if (sum != count / 2) throw std::logic_error("a result was wrong");
  co_return nanoseconds_each(begin);
}

// A coroutine that waits for a Future which another completes: the way through the turn's queue.
Future<void> wait_for(Future<void> future) { co_await std::move(future); }

Future<double> suspend_once() {
  const auto begin = Clock::now();
  for (int i = 0; i < count; ++i) {
    Future<void> gate;
    Future<void> waiting = wait_for(gate);
    gate.set_result();
    co_await std::move(waiting);
  }
  co_return nanoseconds_each(begin);
}

#ifdef ASIO_HAS_CO_AWAIT
[[gnu::noinline]] asio::awaitable<int> ready_asio(int n) { co_return n; }

asio::awaitable<double> call_ready_asio() {
  const auto begin = Clock::now();
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await ready_asio(i & 1);
  if (sum != count / 2) throw std::logic_error("a result was wrong");
  co_return nanoseconds_each(begin);
}

asio::awaitable<void> wait_for_asio(asio::io_context& io) {
  co_await asio::post(io, asio::use_awaitable);
}

asio::awaitable<double> suspend_once_asio(asio::io_context& io) {
  const auto begin = Clock::now();
  for (int i = 0; i < count; ++i) co_await wait_for_asio(io);
  co_return nanoseconds_each(begin);
}

double run_asio(asio::io_context& io, asio::awaitable<double> work) {
  double result = 0;
  asio::co_spawn(io, std::move(work),
                 [&result](std::exception_ptr, double time) { result = time; });
  io.restart();
  io.run();
  return result;
}

double ready_in_asio(asio::io_context& io) { return run_asio(io, call_ready_asio()); }
double suspending_in_asio(asio::io_context& io) { return run_asio(io, suspend_once_asio(io)); }
#else  // Asio 1.22 knows no coroutines of clang's
double ready_in_asio(asio::io_context&) { return std::numeric_limits<double>::infinity(); }
double suspending_in_asio(asio::io_context&) { return std::numeric_limits<double>::infinity(); }
#endif

void print(const char* what, double ours, double asios) {
  fmt::print("{:<36} {:>8.1f} {:>8.1f} {:>8.2f}\n", what, ours, asios, ours / asios);
}

}  // namespace

int main() {
  asio::io_context io(1);
  IOLoop& loop = IOLoop::current();
  constexpr double none = std::numeric_limits<double>::infinity();
  double best[4] = {none, none, none, none};
  for (int round = 0; round < rounds; ++round) {
    best[0] = std::min(best[0], loop.run_sync([] { return call_ready(); }));
    best[1] = std::min(best[1], ready_in_asio(io));
    best[2] = std::min(best[2], loop.run_sync([] { return suspend_once(); }));
    best[3] = std::min(best[3], suspending_in_asio(io));
  }
  fmt::print("{:<36} {:>8} {:>8} {:>8}\n", "nanoseconds each", "tornado", "asio", "ratio");
  print("call and await, ready", best[0], best[1]);
  print("call, suspend once, resume", best[2], best[3]);
}
