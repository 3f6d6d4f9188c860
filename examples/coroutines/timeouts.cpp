// SPDX-License-Identifier: Apache-2.0
//
// Two ways to wait no longer than so long: one leaves the work alone, the other cancels it.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

Future<std::string> work(std::string name) {
  try {
    co_await gen::sleep(100ms);
    fmt::print("{}: ends\n", name);
    co_return name;
  } catch (const CancelledError&) {
    fmt::print("{}: cancelled\n", name);
    throw;
  }
}

Future<void> stop_waiting() {
  const Future<std::string> one = work("one");
  try {
    co_await gen::with_timeout(10ms, one);
  } catch (const TimeoutError&) {
    fmt::print("one: not waited for any more\n");
  }
  co_await one;  // it went on
}

Future<void> stop_working() {
  try {
    co_await gen::timeout_after(10ms, work, "two");
  } catch (const TimeoutError&) {
    fmt::print("two: over\n");
  }
}

Future<void> run() {
  co_await stop_waiting();
  co_await stop_working();
}

int main() { IOLoop::current().run_sync(run); }
