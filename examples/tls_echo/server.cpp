// SPDX-License-Identifier: Apache-2.0
//
// Sends every line back to where it came from, encrypted.
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

using namespace tornado;

constexpr std::string_view help = R"(Usage: tls_echo_server --certfile FILE [OPTION...]

Sends every line that it gets back, over TLS. Ctrl-C ends it.

  --certfile FILE   its certificate, and the chain above it (PEM)
  --keyfile FILE    the key (PEM); without it, the key is in certfile
  --port N          port to listen on (default 8443); 0: one that is free
  --help            this text
)";

class EchoServer : public TCPServer {
 public:
  using TCPServer::TCPServer;

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    try {
      for (;;) {
        std::string line = co_await stream.read_until("\n", 65536);
        co_await stream.write(line);
      }
    } catch (const StreamClosedError& error) {
      fmt::print("Connection closed: {}\n", error.what());
      std::fflush(stdout);
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
    const std::string certfile = arguments.text("--certfile", "server.crt");
    const std::string keyfile = arguments.text("--keyfile", "");
    const auto port = arguments.number<std::uint16_t>("--port", 8443, 0, 65535);
    arguments.done();

    main_loop = &IOLoop::current();
    std::signal(SIGINT, stop_main_loop);
    std::signal(SIGTERM, stop_main_loop);

    SSLContext context = SSLContext::server();
    context.load_cert_chain(certfile, keyfile);
    EchoServer server(context);
    server.listen(port, "127.0.0.1");
    for (const Address& each : server.addresses()) fmt::print("Listening on {}\n", each.str());
    std::fflush(stdout);

    main_loop->start();
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "tls_echo_server: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tls_echo_server: {}\n", error.what());
    return 1;
  }
}
