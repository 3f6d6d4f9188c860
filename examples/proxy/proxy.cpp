// SPDX-License-Identifier: Apache-2.0
//
// Hands every connection on to another server. Either side may end in its own time, a slow reader
// slows down who writes to it and nothing else, and what fails on one side ends the other.
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

constexpr std::string_view help = R"(Usage: proxy [OPTION...]

Hands every connection on to another server. Ctrl-C ends it.

  --port N                port to listen on (default 8080); 0: one that is free
  --upstream-host HOST    where to (default 127.0.0.1)
  --upstream-port N       (default 8888)
  --help                  this text
)";

class Proxy : public TCPServer {
 public:
  Proxy(std::string host, std::uint16_t port) : host_(std::move(host)), port_(port) {}
  ~Proxy() override { close_all_connections(); }  // whose coroutines use host_

 private:
  Future<void> handle_stream(IOStream client, Address) override {
    IOStream upstream;
    std::string end = "both ended";
    try {
      upstream = co_await TCPClient().connect(host_, port_);
      auto both_ways = [&](TaskGroup& group) -> Future<void> {
        group.create_task(pump(client, upstream));
        co_await pump(upstream, client);
      };
      co_await gen::task_group(both_ways);
    } catch (const std::exception& error) {
      end = error.what();
      client.close();
      if (upstream) upstream.close();
    }
    fmt::print("{} bytes there, {} back, {}\n", client.bytes_read(), client.bytes_written(), end);
    std::fflush(stdout);
  }

  std::string host_;
  std::uint16_t port_;
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
    const auto port = arguments.number<std::uint16_t>("--port", 8080, 0, 65535);
    const std::string upstream_host = arguments.text("--upstream-host", "127.0.0.1");
    const auto upstream_port = arguments.number<std::uint16_t>("--upstream-port", 8888, 1, 65535);
    arguments.done();

    main_loop = &IOLoop::current();
    std::signal(SIGINT, stop_main_loop);
    std::signal(SIGTERM, stop_main_loop);

    Proxy server(upstream_host, upstream_port);
    server.listen(port, "127.0.0.1");
    for (const Address& each : server.addresses()) fmt::print("Listening on {}\n", each.str());
    std::fflush(stdout);

    main_loop->start();
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "proxy: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "proxy: {}\n", error.what());
    return 1;
  }
}
