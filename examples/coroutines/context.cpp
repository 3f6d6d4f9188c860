// SPDX-License-Identifier: Apache-2.0
//
// Context variables: a value for each coroutine, and for all that it calls.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

const ContextVar<std::string> request_id("request_id", "-");

// Called from anywhere, needs no argument to know for whom.
void trace(std::string text) { fmt::print("[{}] {}\n", request_id.get(), text); }

Future<void> query(std::chrono::milliseconds length) {
  trace("query");
  co_await gen::sleep(length);
  trace("answer");
}

Future<void> handle(std::string id, std::chrono::milliseconds length) {
  request_id.set(id);
  co_await query(length);
  IOLoop::current().add_callback(trace, "callback");
}

Future<void> run() {
  co_await gen::multi(handle("A", 20ms), handle("B", 10ms));
  trace("the caller");
  co_await gen::moment;
}

int main() { IOLoop::current().run_sync(run); }
