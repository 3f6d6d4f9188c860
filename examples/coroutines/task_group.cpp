// SPDX-License-Identifier: Apache-2.0
//
// Task groups: children that end before their scope does, whatever happens; and a graceful end.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

Future<int> work(std::string name, std::chrono::milliseconds length) {
  try {
    co_await gen::sleep(length);
  } catch (const CancelledError&) {
    fmt::print("{}: cancelled\n", name);
    throw;
  }
  if (name == "bad") throw std::runtime_error("bad work");
  fmt::print("{}: done\n", name);
  co_return static_cast<int>(length.count());
}

Future<void> wait_for_all() {
  co_await gen::task_group([](TaskGroup& group) -> Future<void> {
    const Future<int> one = group.create_task(work, "one", 10ms);
    group.create_task(work, "two", 20ms);
    const int length = co_await one;
    fmt::print("one took {} ms; {} still run\n", length, group.size());
  });
  fmt::print("all have ended\n");
}

Future<void> one_fails() {
  try {
    co_await gen::task_group([](TaskGroup& group) -> Future<void> {
      group.create_task(work, "bad", 10ms);
      group.create_task(work, "good", 1h);
      co_return;
    });
  } catch (const std::runtime_error& error) {
    fmt::print("the group failed: {}\n", error.what());
  }
}

// A server's life: begin what comes, until told to stop; then let what runs end, but not for ever.
Future<void> serve(Future<void> stop) {
  auto body = [stop](TaskGroup& group) -> Future<void> {
    group.create_task(work, "a short request", 20ms);
    group.create_task(work, "a long request", 1h);
    co_await stop;
    fmt::print("stopping\n");
    co_await group.drain(50ms);
    fmt::print("{} left besides this\n", group.size() - 1);
  };
  co_await gen::task_group(body);  // named first: it captures
}

Future<void> run() {
  co_await wait_for_all();
  co_await one_fails();
  co_await serve(gen::sleep(10ms));
}

int main() { IOLoop::current().run_sync(run); }
