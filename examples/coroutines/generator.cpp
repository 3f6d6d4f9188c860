// SPDX-License-Identifier: Apache-2.0
//
// Generators: coroutines that give one value after the other.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

gen::AsyncGenerator<int> count_down(int from) {
  for (int i = from; i > 0; --i) {
    co_await gen::sleep(1ms);
    co_yield i;
  }
}

Future<void> take_all() {
  auto numbers = count_down(3);
  while (auto number = co_await numbers.next()) fmt::print("{} ", *number);
  fmt::print("end\n");
}

class Connection {
 public:
  Connection() { fmt::print("open\n"); }
  ~Connection() { fmt::print("closed\n"); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
};

gen::AsyncGenerator<std::string> rows() {
  const Connection connection;
  for (int i = 1;; ++i) co_yield fmt::format("row {}", i);
}

Future<void> take_some() {
  auto all = rows();
  fmt::print("nothing has begun\n");
  const auto row = co_await all.next();
  fmt::print("{}\n", *row);
}  // destroys the generator where it is suspended, with its locals

gen::AsyncGenerator<int> failing() {
  co_yield 1;
  throw std::runtime_error("no more");
}

Future<void> errors() {
  auto numbers = failing();
  try {
    while (auto number = co_await numbers.next()) fmt::print("{}\n", *number);
  } catch (const std::runtime_error& error) {
    fmt::print("failed: {}\n", error.what());
  }
  const auto after = co_await numbers.next();
  fmt::print("ended: {}\n", !after);
}

Future<void> run() {
  co_await take_all();
  co_await take_some();
  co_await errors();
}

int main() { IOLoop::current().run_sync(run); }
