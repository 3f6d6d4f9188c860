// SPDX-License-Identifier: Apache-2.0
//
// A server without TCPServer: the loop tells when the listening socket is ready, and the program
// accepts. A port of the example in the documentation of Tornado's IOLoop (Copyright 2009 Facebook
// and the Tornado Authors, Apache-2.0); new are the clients, which talk to it until it ends.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <string>
#include <utility>

#include <sys/socket.h>

using namespace tornado;

Future<void> handle_connection(Socket connection, Address address) {
  IOStream stream(std::move(connection));
  const std::string message = co_await stream.read_until("\n");
  fmt::print("message from {}: {}", address.host(), message);
  co_await stream.write("Thank you.\n");
}

void connection_ready(Socket& sock, native_handle_type, int) {
  while (auto accepted = sock.accept()) {
    auto& [connection, address] = *accepted;
    IOLoop::current().spawn_callback(handle_connection, std::move(connection), address);
  }
}

Future<void> talk_to(Address server, std::string message) {
  IOStream stream(Socket::tcp(AF_INET));
  co_await stream.connect(server);
  co_await stream.write(message + "\n");
  const std::string answer = co_await stream.read_until_close();
  fmt::print("answer: {}", answer);
}

Future<void> run() {
  Socket sock = Socket::tcp(AF_INET);
  sock.set_reuse_address(true);
  sock.bind(Address("127.0.0.1", 0));  // port 0: one that is free
  sock.listen(128);
  const Address address = sock.local_address();
  fmt::print("listening on {}\n", address.str());

  // Python: functools.partial(connection_ready, sock)
  const auto callback = [&sock](native_handle_type fd, int events) {
    connection_ready(sock, fd, events);
  };
  IOLoop& io_loop = IOLoop::current();
  io_loop.add_handler(sock.native_handle(), callback, IOLoop::READ);

  co_await talk_to(address, "Hello");
  co_await talk_to(address, "Hello again");
  co_await talk_to(address, "Goodbye");

  // The handler goes before the socket that it uses.
  io_loop.remove_handler(sock.native_handle());
}

int main() { IOLoop::current().run_sync(run); }
