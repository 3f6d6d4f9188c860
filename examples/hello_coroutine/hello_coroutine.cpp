// SPDX-License-Identifier: Apache-2.0
//
// A first coroutine: how to write one, wait for it, wait for two at once, and run it from main.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <string>
#include <tuple>

using namespace std::chrono_literals;
using namespace tornado;

// A function that returns a Future and waits with co_await is a coroutine. Its arguments are taken
// by value: a reference could outlive what it refers to while the coroutine sleeps.
Future<std::string> greet(std::string name, std::chrono::milliseconds delay) {
  fmt::print("  looking for {}\n", name);
  co_await gen::sleep(delay);  // others run meanwhile
  fmt::print("  found {}\n", name);
  co_return fmt::format("Hello, {}!", name);
}

Future<int> greet_everyone() {
  fmt::print("One:\n");
  const std::string greeting = co_await greet("world", 10ms);
  fmt::print("{}\n", greeting);

  // Calling a coroutine starts it, so that both look at the same time.
  fmt::print("Two at once:\n");
  const auto greetings = co_await gen::multi(greet("Ada", 100ms), greet("Grace", 50ms));
  fmt::print("{}\n{}\n", std::get<0>(greetings), std::get<1>(greetings));

  co_return 3;
}

int main() {
  const int count = IOLoop::current().run_sync(greet_everyone);
  fmt::print("{} greetings\n", count);
}
