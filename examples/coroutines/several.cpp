// SPDX-License-Identifier: Apache-2.0
//
// Waiting for several things at once: for all of them, for the first, for each as it comes.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

using namespace std::chrono_literals;
using namespace tornado;

Future<std::string> fetch(std::string name, std::chrono::milliseconds delay) {
  co_await gen::sleep(delay);
  if (name == "bad") throw std::runtime_error(name);
  co_return name;
}

Future<int> count() {
  co_await gen::sleep(10ms);
  co_return 3;
}

Future<void> all() {
  // Both have begun before the wait; it is over when both are done.
  const auto [text, number] = co_await gen::multi(fetch("text", 20ms), count());
  fmt::print("{} {}\n", text, number);

  // As many as there are; the values stand in the order of the Futures.
  std::vector<Future<std::string>> list;
  for (const int i : {3, 2, 1}) list.push_back(fetch(fmt::format("page{}", i), i * 10ms));
  const std::vector<std::string> pages = co_await gen::multi(std::move(list));
  fmt::print("{} {} {}\n", pages[0], pages[1], pages[2]);

  // By name.
  std::map<std::string, Future<std::string>> by_name;
  by_name.emplace("first", fetch("a", 10ms));
  by_name.emplace("second", fetch("b", 10ms));
  const std::map<std::string, std::string> values = co_await gen::multi(std::move(by_name));
  fmt::print("{} {}\n", values.at("first"), values.at("second"));
}

Future<void> all_or_error() {
  Future<std::string> good = fetch("good", 20ms);
  try {
    co_await gen::multi(fetch("bad", 10ms), good);
  } catch (const std::runtime_error& error) {
    fmt::print("failed: {}; the other is done: {}\n", error.what(), good.done());
  }
}

Future<void> first_of() {
  const Future<std::string> quick = fetch("quick", 10ms);
  const Future<int> stop;  // to be completed by somebody else
  const std::size_t first = co_await gen::when_any(stop, quick);
  if (first == 1) fmt::print("first: {}\n", quick.result());
}

Future<void> as_they_come() {
  gen::WaitIterator<std::string> results(fetch("slow", 30ms), fetch("bad", 20ms),
                                         fetch("quick", 10ms));
  while (!results.done()) {
    try {
      const auto result = co_await results.next();
      fmt::print("{} is {}\n", *results.current_index(), *result);
    } catch (const std::runtime_error& error) {
      fmt::print("{} failed: {}\n", *results.current_index(), error.what());
    }
  }
}

Future<void> run() {
  co_await all();
  co_await all_or_error();
  co_await first_of();
  co_await as_they_come();
}

int main() { IOLoop::current().run_sync(run); }
