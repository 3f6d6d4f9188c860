// SPDX-License-Identifier: Apache-2.0
//
// One small program in three forms, the first: callbacks. The others are engine_form.cpp and
// await_form.cpp; all three print the same.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <functional>
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

void greet(std::string name, std::function<void(std::string)> done) {
  IOLoop& io_loop = IOLoop::current();

  auto looked_up = [&io_loop, name, done](Future<std::string> address) {
    if (address.exception()) {
      done("nobody is called " + name);
      return;
    }
    auto fetched = [done](Future<std::string> answer) { done(answer.result()); };
    io_loop.add_future(fetch(address.result()), fetched);
  };
  io_loop.add_future(look_up(name), looked_up);
}

int main() {
  greet("www", [](std::string first) {
    fmt::print("{}\n", first);
    greet("ftp", [](std::string second) {
      fmt::print("{}\n", second);
      IOLoop::current().stop();
    });
  });
  IOLoop::current().start();
}
