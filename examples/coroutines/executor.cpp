// SPDX-License-Identifier: Apache-2.0
//
// Work for other threads, and results from them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace tornado;

// Keeps a processor busy: on the loop's thread everything else would wait meanwhile.
std::uint64_t add_up_to(std::uint64_t last) {
  if (last == 0) throw std::invalid_argument("nothing to add");
  std::uint64_t sum = 0;
  for (std::uint64_t i = 1; i <= last; ++i) sum += i;
  return sum;
}

Future<void> on_threads(ThreadPoolExecutor& executor) {
  const auto [small, large] =
      co_await gen::multi(executor.submit(add_up_to, 10u), executor.submit(add_up_to, 1'000'000u));
  fmt::print("{} {}\n", small, large);

  try {
    co_await executor.submit(add_up_to, 0u);
  } catch (const std::invalid_argument& error) {
    fmt::print("failed: {}\n", error.what());
  }
}

Future<void> from_a_thread_of_its_own() {
  RemotePromise<std::string> promise;
  Future<std::string> answer = promise.get_future();
  std::thread thread(
      [promise = std::move(promise)]() mutable { promise.set_result("from there"); });
  const std::string text = co_await std::move(answer);
  thread.join();
  fmt::print("{}\n", text);
}

int main() {
  ThreadPoolExecutor executor(2);
  IOLoop& io_loop = IOLoop::current();
  io_loop.run_sync([&executor] { return on_threads(executor); });
  io_loop.run_sync(from_a_thread_of_its_own);
}
