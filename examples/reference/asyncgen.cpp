// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/asyncgen.hpp>; docs/reference/asyncgen.md quotes them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace std::chrono_literals;
using namespace tornado;

gen::AsyncGenerator<std::string> lines(IOStream stream) {
  for (;;) {
    const std::string line = co_await stream.read_until("\n");
    if (line == "\n") co_return;
    co_yield line;
  }
}

class Sender : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    co_await stream.write("one\ntwo\n\n");
  }
};

Future<void> read_lines() {
  Sender server;
  server.listen(0, "127.0.0.1");
  IOStream stream = co_await TCPClient().connect("127.0.0.1", server.addresses().front().port());
  auto all = lines(stream);
  while (auto line = co_await all.next()) fmt::print("{}", *line);
}

gen::AsyncGenerator<int> ticks() {
  for (int i = 1;; ++i) {
    co_yield i;
    co_await gen::sleep(i * 10ms);
  }
}

Future<void> one_next_at_a_time() {
  auto all = ticks();
  const auto first = co_await all.next();
  const auto second = all.next();
  try {
    static_cast<void>(all.next());
  } catch (const std::logic_error& error) {
    fmt::print("{}\n", error.what());
  }
  const auto value = co_await second;
  fmt::print("{} {}\n", *first, *value);
}

gen::AsyncGenerator<int> patient() {
  for (int i = 1;; ++i) {
    try {
      co_await gen::sleep(1h);
    } catch (const CancelledError&) {
      fmt::print("told to hurry\n");
    }
    co_yield i;
  }
}

Future<void> cancel_next() {
  auto all = patient();
  const auto next = all.next();
  next.cancel();
  const auto value = co_await next;  // the request was not thrown on: the next value comes
  fmt::print("{}\n", *value);
}

Future<void> destroy() {
  Future<std::optional<int>> pending;
  {
    auto all = ticks();
    co_await all.next();
    auto moved = std::move(all);
    pending = moved.next();
  }
  fmt::print("cancelled: {}\n", pending.cancelled());
}

int main() {
  IOLoop& io_loop = IOLoop::current();
  io_loop.run_sync(read_lines);
  io_loop.run_sync(one_next_at_a_time);
  io_loop.run_sync(cancel_next);
  io_loop.run_sync(destroy);
}
