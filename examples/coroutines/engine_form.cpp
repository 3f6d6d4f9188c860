// SPDX-License-Identifier: Apache-2.0
//
// One small program in three forms, the second: coroutines between functions that take callbacks,
// as they were written for Tornado 2 to 5. The others are callback_form.cpp and await_form.cpp; all
// three print the same.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

using Callback = std::function<void(std::string)>;

// These two stand for servers elsewhere: one knows addresses, the other answers.
void look_up(std::string name, Callback callback) {
  IOLoop::current().call_later(10ms, callback, name == "www" ? "192.0.2.1" : "");
}

void fetch(std::string address, Callback callback) {
  IOLoop::current().call_later(10ms, callback, "hello from " + address);
}

const auto greet = gen::engine([](std::string name, Callback callback) -> Future<void> {
  const std::string address = co_await gen::Task<std::string>(look_up, name);
  if (address.empty()) {
    callback("nobody is called " + name);
    co_return;
  }
  const std::string answer = co_await gen::Task<std::string>(fetch, address);
  callback(answer);
});

Future<void> run() {
  const std::string first = co_await gen::Task<std::string>(greet, "www");
  fmt::print("{}\n", first);
  const std::string second = co_await gen::Task<std::string>(greet, "ftp");
  fmt::print("{}\n", second);
}

int main() { IOLoop::current().run_sync(run); }
