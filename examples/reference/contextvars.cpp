// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/contextvars.hpp>; docs/reference/contextvars.md quotes them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

const ContextVar<std::string> user("user");
const ContextVar<int> depth("depth", 0);

void get() {
  fmt::print("{} {}\n", user.get("nobody"), depth.get());
  try {
    fmt::print("{}\n", user.get());
  } catch (const std::out_of_range& error) {
    fmt::print("{}\n", error.what());
  }
}

Future<void> set() {
  user.set("Ada");
  co_await gen::sleep(1ms);
  fmt::print("in the coroutine: {}\n", user.get());
}

Future<void> caller() {
  co_await set();
  fmt::print("its caller: {}\n", user.get("nobody"));
}

void descend(int levels) {
  const auto token = depth.set(depth.get() + 1);
  const int* before = token.old_value();
  fmt::print("{} {}, before: {}\n", depth.name(), depth.get(), before == nullptr ? -1 : *before);
  if (levels > 1) descend(levels - 1);
  depth.reset(token);
}

void reset() {
  descend(2);
  fmt::print("{}\n", depth.get());
}

int main() {
  get();
  IOLoop::current().run_sync(caller);
  reset();
}
