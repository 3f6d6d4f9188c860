// SPDX-License-Identifier: Apache-2.0
//
// One small program in three forms, the last: coroutines that await. The others are
// callback_form.cpp and engine_form.cpp; all three print the same.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

// These two stand for servers elsewhere: one knows addresses, the other answers.
Future<std::string> look_up(std::string name) {
  co_await gen::sleep(10ms);
  if (name != "www") throw std::out_of_range(name);
  co_return "192.0.2.1";
}

Future<std::string> fetch(std::string address) {
  co_await gen::sleep(10ms);
  co_return "hello from " + address;
}

Future<std::string> greet(std::string name) {
  std::string address;
  try {
    address = co_await look_up(name);
  } catch (const std::out_of_range&) {
    co_return "nobody is called " + name;
  }
  co_return co_await fetch(address);
}

Future<void> run() {
  const std::string first = co_await greet("www");
  fmt::print("{}\n", first);
  const std::string second = co_await greet("ftp");
  fmt::print("{}\n", second);
}

int main() { IOLoop::current().run_sync(run); }
