// SPDX-License-Identifier: Apache-2.0
//
// Sends every line back to where it came from. A port of Tornado's demos/tcpecho/server.py
// (Copyright the Tornado Authors, Apache-2.0), and the server of the c10k example: it does not log
// each line unless told to.
#include "../arguments.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

using namespace tornado;

constexpr std::string_view help = R"(Usage: tcpecho_server [OPTION...]

Sends every line that it gets back. Ctrl-C ends it.

  --port N         port to listen on (default 8888); 0: one that is free
  --address HOST   address to listen on (default 127.0.0.1); "": all interfaces
  --verbose        log each connection and each line
  --help           this text
)";

class EchoServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address address) override {
    log::app_log.info("New client at {}", address.str());
    try {
      for (;;) {
        std::string line = co_await stream.read_until("\n");
        log::app_log.info("Received {} bytes from {}", line.size(), address.port());
        co_await stream.write(std::move(line));
      }
    } catch (const StreamClosedError& error) {
      log::app_log.info("Lost client at {}: {}", address.str(), error.what());
    }
  }
};

IOLoop* main_loop = nullptr;

extern "C" void stop_main_loop(int) {
  main_loop->add_callback_from_signal([](void*) { main_loop->stop(); });
}

int main(int argc, char** argv) {
  try {
    Arguments arguments(argc, argv);
    if (arguments.flag("--help")) {
      fmt::print("{}", help);
      return 0;
    }
    const auto port = arguments.number<std::uint16_t>("--port", 8888, 0, 65535);
    const std::string address = arguments.text("--address", "127.0.0.1");
    if (arguments.flag("--verbose")) log::app_log.set_level(LogLevel::info);
    arguments.done();

    main_loop = &IOLoop::current();
    std::signal(SIGINT, stop_main_loop);
    std::signal(SIGTERM, stop_main_loop);

    EchoServer server;
    server.listen(port, address, {.backlog = 1024});
    for (const Address& each : server.addresses()) fmt::print("Listening on {}\n", each.str());
    std::fflush(stdout);

    main_loop->start();
    fmt::print("Stopped\n");
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "tcpecho_server: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tcpecho_server: {}\n", error.what());
    return 1;
  }
}
