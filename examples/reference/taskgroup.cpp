// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/taskgroup.hpp>; docs/reference/taskgroup.md quotes them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

Future<std::string> load(std::string name, std::chrono::milliseconds length) {
  co_await gen::sleep(length);
  if (name.empty()) throw std::invalid_argument("no name");
  co_return name;
}

Future<void> create() {
  co_await gen::task_group([](TaskGroup& group) -> Future<void> {
    const Future<std::string> one = group.create_task(load, "one", 10ms);
    const Future<std::string> two = group.create_task(load("two", 20ms));  // has begun before
    const std::string first = co_await one;
    fmt::print("{} run, this included\n", group.size());
    const std::string second = co_await two;
    fmt::print("{} {}\n", first, second);
  });
}

Future<void> cancel_one_and_all() {
  co_await gen::task_group([](TaskGroup& group) -> Future<void> {
    const Future<std::string> one = group.create_task(load, "one", 1h);
    group.create_task(load, "two", 10ms);
    one.cancel();  // that one alone
    co_await gen::sleep(20ms);
    group.create_task(load, "three", 1h);
    group.cancel();  // all, this too: its next wait ends
    try {
      group.create_task(load, "four", 1h);
    } catch (const std::logic_error& error) {
      fmt::print("{}\n", error.what());
    }
  });
  fmt::print("cancelled children are no failure\n");
}

Future<void> several_fail() {
  auto clean_up_badly = []() -> Future<void> {
    try {
      co_await gen::sleep(1h);
    } catch (const CancelledError&) {
      throw std::runtime_error("cannot clean up");
    }
  };
  auto body = [clean_up_badly](TaskGroup& group) -> Future<void> {
    group.create_task(load, "", 10ms);
    group.create_task(clean_up_badly);
    co_return;
  };
  try {
    co_await gen::task_group(body);
  } catch (const ExceptionGroup& errors) {
    for (const auto& error : errors.errors()) fmt::print("{}\n", log::describe(error));
  }
}

Future<void> drain() {
  co_await gen::task_group([](TaskGroup& group) -> Future<void> {
    const Future<std::string> quick = group.create_task(load, "quick", 10ms);
    const Future<std::string> slow = group.create_task(load, "slow", 1h);
    co_await group.drain(50ms);
    fmt::print("quick: {}, slow cancelled: {}\n", quick.result(), slow.cancelled());
  });
}

int main() {
  IOLoop& io_loop = IOLoop::current();
  io_loop.run_sync(create);
  io_loop.run_sync(cancel_one_and_all);
  io_loop.run_sync(several_fail);
  io_loop.run_sync(drain);
}
