// SPDX-License-Identifier: Apache-2.0
//
// What Tornado 4 did with gen.Callback and gen.Wait.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

void fetch(std::string address, std::function<void(std::string)> callback) {
  IOLoop::current().call_later(10ms, callback, "hello from " + address);
}

Future<void> both() {
  const auto first = gen::Task<std::string>(fetch, "192.0.2.1");
  const auto second = gen::Task<std::string>(fetch, "192.0.2.2");
  const auto [one, two] = co_await gen::multi(first, second);
  fmt::print("{}, {}\n", one, two);
}

int main() { IOLoop::current().run_sync(both); }
