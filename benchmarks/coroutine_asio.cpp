// SPDX-License-Identifier: Apache-2.0
//
// The half of the coroutine benchmark that is asio::awaitable.
#include "coroutine.hpp"

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>

#include <exception>
#include <limits>
#include <stdexcept>
#include <utility>

#ifdef ASIO_HAS_CO_AWAIT
namespace {

[[gnu::noinline]] asio::awaitable<int> ready_asio(int n) { co_return n; }

asio::awaitable<double> call_ready_asio() {
  const auto begin = Clock::now();
  int sum = 0;
  for (int i = 0; i < calls; ++i) sum += co_await ready_asio(i & 1);
  if (sum != calls / 2) throw std::logic_error("a result was wrong");
  co_return nanoseconds_each(begin, calls);
}

asio::awaitable<void> wait_for_asio(asio::io_context& io) {
  co_await asio::post(io, asio::use_awaitable);
}

asio::awaitable<double> suspend_once_asio(asio::io_context& io) {
  const auto begin = Clock::now();
  for (int i = 0; i < calls; ++i) co_await wait_for_asio(io);
  co_return nanoseconds_each(begin, calls);
}

asio::io_context io(1);

double run_asio(asio::awaitable<double> work) {
  double result = 0;
  asio::co_spawn(io, std::move(work),
                 [&result](std::exception_ptr, double time) { result = time; });
  io.restart();
  io.run();
  return result;
}

}  // namespace

double ready_in_asio() { return run_asio(call_ready_asio()); }
double suspending_in_asio() { return run_asio(suspend_once_asio(io)); }
#else  // Asio 1.22 knows no coroutines of clang's
double ready_in_asio() { return std::numeric_limits<double>::infinity(); }
double suspending_in_asio() { return std::numeric_limits<double>::infinity(); }
#endif
