// SPDX-License-Identifier: Apache-2.0
//
// What co_await gives: the value or a reference to it, the error, or how it ended.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace tornado;

Future<std::string> greeting() {
  co_await gen::sleep(1ms);
  co_return "hello";
}

Future<void> values() {
  // Handed over: the value itself. It is moved when nobody else holds the Future.
  std::string mine = co_await greeting();
  fmt::print("{}\n", mine);

  // Kept: a reference to the value in the Future, which can be awaited again.
  const Future<std::string> kept = greeting();
  const std::string& seen = co_await kept;
  const std::string& again = co_await kept;
  fmt::print("{}, the same: {}\n", seen, &seen == &again);
}

Future<std::unique_ptr<int>> make_number() { co_return std::make_unique<int>(5); }

Future<void> move_only() {
  Future<std::unique_ptr<int>> future = make_number();
  const std::unique_ptr<int> number = co_await std::move(future);
  fmt::print("{}\n", *number);
}

Future<std::string> failing() {
  co_await gen::sleep(1ms);
  throw std::runtime_error("no such thing");
}

Future<void> errors() {
  try {
    const std::string text = co_await failing();
    fmt::print("{}\n", text);
  } catch (const std::runtime_error& error) {
    fmt::print("caught: {}\n", error.what());
  }
}

Future<void> print_end(Future<std::string> future) {
  const auto end = co_await gen::settled(future);
  if (end) {
    fmt::print("value: {}\n", end.value());
  } else {
    fmt::print("error: {}\n", log::describe(end.error()));
  }
}

Future<bool> ready() { co_return true; }

Future<void> conditions() {
  const bool is_ready = co_await ready();
  if (is_ready) fmt::print("ready\n");
  if (const bool also = co_await ready()) fmt::print("ready again: {}\n", also);
}

Future<std::size_t> measure(std::string text, std::size_t factor) {
  co_await gen::sleep(1ms);
  co_return text.size() * factor;
}

Future<void> choice(bool loud) {
  Future<std::string> chosen = loud ? failing() : greeting();
  const std::string text = co_await std::move(chosen);
  fmt::print("{}\n", text);
}

Future<void> named_lambda() {
  const std::string text = "twelve bytes";
  auto measure_it = [text] { return measure(text, 1); };
  const std::size_t size = co_await gen::timeout_after(1s, measure_it);
  fmt::print("{}\n", size);
}

Future<void> function_and_arguments() {
  const std::string text = "twelve bytes";
  const std::size_t size = co_await gen::timeout_after(1s, measure, text, 2u);
  fmt::print("{}\n", size);
}

Future<void> run() {
  co_await values();
  co_await move_only();
  co_await errors();
  co_await print_end(greeting());
  co_await print_end(failing());
  co_await conditions();
  co_await choice(false);
  co_await named_lambda();
  co_await function_and_arguments();
}

int main() { IOLoop::current().run_sync(run); }
