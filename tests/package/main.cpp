// SPDX-License-Identifier: Apache-2.0
//
// What a user's first program looks like; built against an installed tornado-asio and inside a
// project that contains it.
#include <tornado/tornado.hpp>

#include <chrono>

tornado::Future<int> answer() {
  co_await tornado::gen::sleep(std::chrono::milliseconds(1));
  co_return 42;
}

int main() { return tornado::IOLoop::current().run_sync(answer) == 42 ? 0 : 1; }
