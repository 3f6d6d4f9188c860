// SPDX-License-Identifier: Apache-2.0
//
// What a coroutine is: it begins when it is called, goes on without being held, and lives on
// values.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

using namespace std::chrono_literals;
using namespace tornado;

Future<int> answer() {
  fmt::print("answer begins\n");
  co_await gen::sleep(10ms);
  fmt::print("answer goes on\n");
  co_return 42;
}

Future<void> call_and_await() {
  Future<int> future = answer();
  fmt::print("called; done: {}\n", future.done());
  const int value = co_await std::move(future);
  fmt::print("it is {}\n", value);
}

// Done when the call returns: nothing in it waits.
Future<int> at_once() { co_return 7; }

Future<void> print_later(std::string text) {
  co_await gen::sleep(10ms);
  fmt::print("{}\n", text);
}

void begin() {
  std::string text = "nobody holds the Future";
  IOLoop::current().spawn_callback(print_later, text);
  text.clear();  // the coroutine has its own
}

void begin_lambda() {
  const std::string text = "the loop keeps the capture";
  IOLoop::current().spawn_callback([text]() -> Future<void> {
    co_await gen::sleep(20ms);
    fmt::print("{}\n", text);
  });
}

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(std::string name) : name_(std::move(name)) {}
  ~Session() { fmt::print("{} ends\n", name_); }

  void start() { IOLoop::current().spawn_callback(run, shared_from_this()); }

 private:
  static Future<void> run(std::shared_ptr<Session> self) {
    co_await gen::sleep(30ms);
    fmt::print("{} is still there\n", self->name_);
  }

  std::string name_;
};

Future<void> run() {
  co_await call_and_await();
  fmt::print("at_once: done: {}\n", at_once().done());
  begin();
  begin_lambda();
  std::make_shared<Session>("session")->start();
  co_await gen::sleep(40ms);
}

int main() { IOLoop::current().run_sync(run); }
