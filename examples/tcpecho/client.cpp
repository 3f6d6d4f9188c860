// SPDX-License-Identifier: Apache-2.0
//
// Sends one line to tcpecho_server and prints the answer. A port of Tornado's
// demos/tcpecho/client.py (Copyright the Tornado Authors, Apache-2.0).
#include "../arguments.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

using namespace tornado;

constexpr std::string_view help = R"(Usage: tcpecho_client [OPTION...]

Sends a line to tcpecho_server and prints the answer.

  --host HOST      where the server is (default 127.0.0.1)
  --port N         its port (default 8888)
  --message TEXT   what to send (default ping)
  --help           this text
)";

Future<void> send_message(std::string host, std::uint16_t port, std::string message) {
  IOStream stream = co_await TCPClient().connect(host, port);
  co_await stream.write(message + "\n");
  fmt::print("Sent to server: {}\n", message);
  const std::string reply = co_await stream.read_until("\n");
  fmt::print("Response from server: {}", reply);
}

int main(int argc, char** argv) {
  try {
    Arguments arguments(argc, argv);
    if (arguments.flag("--help")) {
      fmt::print("{}", help);
      return 0;
    }
    const std::string host = arguments.text("--host", "127.0.0.1");
    const auto port = arguments.number<std::uint16_t>("--port", 8888, 1, 65535);
    const std::string message = arguments.text("--message", "ping");
    arguments.done();

    IOLoop::current().run_sync([&] { return send_message(host, port, message); });
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "tcpecho_client: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tcpecho_client: {}\n", error.what());
    return 1;
  }
}
