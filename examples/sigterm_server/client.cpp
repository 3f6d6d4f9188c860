// SPDX-License-Identifier: Apache-2.0
//
// Sends sigterm_server its SIGTERM while it has a connection to it, and shows that this one is
// served to its end, while new ones are refused.
#include "../arguments.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <exception>
#include <string>
#include <system_error>

#include <sys/types.h>

using namespace std::chrono_literals;
using namespace tornado;

Future<std::string> echo(IOStream stream, std::string line) {
  co_await stream.write(line + "\n");
  co_return co_await stream.read_until("\n");
}

Future<void> wait_until_refused(std::uint16_t port) {
  for (;;) {
    try {
      co_await TCPClient().connect("127.0.0.1", port);
    } catch (const StreamClosedError& error) {
      if (error.real_error() != std::errc::connection_refused) throw;
      co_return;
    }
    co_await gen::sleep(5ms);  // it has not heard yet
  }
}

Future<void> run(std::uint16_t port, pid_t server) {
  IOStream stream = co_await TCPClient().connect("127.0.0.1", port);
  const std::string before = co_await echo(stream, "before");
  fmt::print("{}", before);
  ::kill(server, SIGTERM);
  co_await wait_until_refused(port);
  fmt::print("new connections are refused\n");
  const std::string after = co_await echo(stream, "after");
  fmt::print("{}", after);
}

int main(int argc, char** argv) {
  try {
    Arguments arguments(argc, argv);
    const auto port = arguments.number<std::uint16_t>("--port", 8888, 1, 65535);
    const auto server = arguments.number<pid_t>("--pid", 0, 1, 1 << 30);
    arguments.done();
    IOLoop::current().run_sync([&] { return run(port, server); });
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "sigterm_client: {}\n", error.what());
    return 1;
  }
}
