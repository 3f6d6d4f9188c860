// SPDX-License-Identifier: Apache-2.0
//
// The half of the callbacks benchmark that is Asio.
#include "callbacks.hpp"

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <optional>
#include <thread>

namespace {

struct Chain {
  asio::io_context& io;
  int left = callbacks;

  void next() {
    if (--left > 0) asio::post(io, [this] { next(); });
  }
};

}  // namespace

double chained_in_asio(bool with_timer) {
  asio::io_context io(1);
  std::optional<asio::steady_timer> timer;
  if (with_timer) timer.emplace(io);
  Chain chain{io};
  const auto begin = Clock::now();
  asio::post(io, [&chain] { chain.next(); });
  io.run();
  return nanoseconds_each(begin, callbacks);
}

double flood_in_asio(bool with_timer) {
  asio::io_context io(1);
  std::optional<asio::steady_timer> timer;
  if (with_timer) timer.emplace(io);
  auto work = asio::make_work_guard(io);
  int left = callbacks;
  const auto begin = Clock::now();
  std::jthread other([&io, &work, &left] {
    for (int i = 0; i < callbacks; ++i) {
      asio::post(io, [&work, &left] {
        if (--left == 0) work.reset();
      });
    }
  });
  io.run();
  return nanoseconds_each(begin, callbacks);
}
