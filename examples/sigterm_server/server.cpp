// SPDX-License-Identifier: Apache-2.0
//
// An echo server that ends in good order on SIGTERM, as `docker stop` or systemd send it: it
// accepts no more connections, gives those there are two seconds, and exits with 0.
#include "../arguments.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>

#include <sys/socket.h>

using namespace std::chrono_literals;
using namespace tornado;

Future<void> serve(IOStream stream) {
  try {
    for (;;) {
      std::string line = co_await stream.read_until("\n");
      co_await stream.write(std::move(line));
    }
  } catch (const StreamClosedError&) {
  }
}

// A signal becomes the result of a Future.
Future<int> next_signal() {
  Future<int> came;
  for (const int signo : {SIGINT, SIGTERM}) {
    IOLoop::current().add_signal_handler(signo, [came](int which) {
      if (!came.done()) came.set_result(which);
    });
  }
  return came;
}

Future<void> run(Socket socket) {
  const Future<int> signal = next_signal();
  auto body = [&socket, signal](TaskGroup& connections) -> Future<void> {
    const auto stop_accepting =
        netutil::add_accept_handler(socket, [&connections](Socket connection, const Address&) {
          connections.create_task(serve, IOStream(std::move(connection)));
        });
    const int signo = co_await signal;
    stop_accepting();
    socket.close();  // from here on connections are refused
    fmt::print("Signal {}: {} connections are open\n", signo == SIGTERM ? "TERM" : "INT",
               connections.size() - 1);  // this coroutine is one of the group, too
    std::fflush(stdout);
    co_await connections.drain(2s);
  };
  co_await gen::task_group(body);
}

int main(int argc, char** argv) {
  try {
    Arguments arguments(argc, argv);
    const auto port = arguments.number<std::uint16_t>("--port", 8888, 0, 65535);
    arguments.done();

    auto sockets = netutil::bind_sockets(port, "127.0.0.1", {.family = AF_INET});
    fmt::print("Listening on {}\n", sockets.front().local_address().str());
    std::fflush(stdout);
    IOLoop::current().run_sync([&] { return run(std::move(sockets.front())); });
    fmt::print("Stopped\n");
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "sigterm_server: {}\n", error.what());
    return 1;
  }
}
