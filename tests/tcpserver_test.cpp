// SPDX-License-Identifier: Apache-2.0
//
// A TCPServer that listens, stops, and hands over its streams. The end of those is in
// tcpserver_connections_test.cpp.
#include "tornado/tcpserver.hpp"

#include "server_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using test::connect_to;
using test::echo;
using test::echoed;
using test::mb;
using test::Mourner;
using test::Names;
using test::result;
using test::Server;
using test::some_iterations;
using test::Transport;
using test::wait_until;
using test::why_closed;

TEST_SUITE("tcpserver") {
  // ---- listening

  TEST_CASE("TCPServer.listen: accepts, and says where") {
    test::Loop loop;
    Server server(echo);
    CHECK(server.addresses().empty());
    server.listen(0, "127.0.0.1");
    REQUIRE(server.addresses().size() == 1);
    CHECK(server.address().host() == "127.0.0.1");
    CHECK(server.address().port() != 0);
    CHECK(server.connections() == 0);
    const IOStream first = connect_to(loop, server.address());
    const IOStream second = connect_to(loop, server.address());
    CHECK(echoed(loop, first, "hello") == "hello\n");
    CHECK(echoed(loop, second, "world") == "world\n");
    CHECK(server.connections() == 2);
    first.close();
    wait_until(loop, [&] { return server.connections() == 1; });
  }

  TEST_CASE("TCPServer.listen: more than once") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    server.listen(0, "127.0.0.2");
    REQUIRE(server.addresses().size() == 2);
    for (const Address& address : server.addresses()) {
      CHECK(echoed(loop, connect_to(loop, address), address.str()) == address.str() + "\n");
    }
  }

  TEST_CASE("TCPServer.listen: a port in use is an error that names it, and changes nothing") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    try {
      server.listen(server.address().port(), "127.0.0.1");
      FAIL("it did not throw");
    } catch (const std::system_error& error) {
      CHECK(error.code() == std::errc::address_in_use);
      CHECK(std::string(error.what()).find(server.address().str()) != std::string::npos);
    }
    CHECK(server.addresses().size() == 1);
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.bind: listens without a loop, start accepts") {
    IOLoop::clear_current();
    Server server(echo);
    server.bind(0, "127.0.0.1");
    CHECK(IOLoop::current_or_null() == nullptr);
    const Address address = server.address();
    {
      test::Loop loop;
      const IOStream client = connect_to(loop, address);
      client.write("hello\n");
      loop.iterate(some_iterations);
      CHECK(server.connections() == 0);
      server.start();
      CHECK(server.address() == address);
      CHECK(result(loop, client.read_until("\n")) == "hello\n");
      server.start();  // nothing more to start
      CHECK(server.addresses().size() == 1);
      server.stop();
      server.close_all_connections();
    }
  }

  TEST_CASE("TCPServer.start: several processes are refused, with what to do instead (T14)") {
    test::Loop loop;
    Server server(echo);
    server.bind(0, "127.0.0.1");
    for (const int processes : {0, 2, -1}) {
      try {
        server.start(processes);
        FAIL("it did not throw");
      } catch (const std::invalid_argument& error) {
        const std::string what = error.what();
        CHECK(what.find(std::to_string(processes) + " processes") != what.npos);
        CHECK(what.find("reuse_port") != what.npos);
      }
    }
    server.start(1);
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.add_sockets: takes sockets that listen, of any family") {
    test::Loop loop;
    Server server(echo);
    server.add_sockets(netutil::bind_sockets(0, "127.0.0.1"));
    auto [socket, unix_address] = test::listen(Transport::local);
    server.add_socket(std::move(socket));
    REQUIRE(server.addresses().size() == 2);
    CHECK(server.addresses()[1] == unix_address);
    for (const Address& address : server.addresses()) {
      CHECK(echoed(loop, connect_to(loop, address), "hello") == "hello\n");
    }
  }

  TEST_CASE("TCPServer: a Unix socket with a file name") {
    test::Loop loop;
    const std::string path = "/tmp/tornado-asio-test-" + std::to_string(::getpid());
    Address peer("1.2.3.4", 5);
    Server server([&peer](IOStream stream, const Address& address) {
      peer = address;
      return echo(std::move(stream), address);
    });
    server.add_socket(netutil::bind_unix_socket(path));
    CHECK(server.address().str() == "unix:" + path);
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
    CHECK(peer.str() == "unix:");
    ::unlink(path.c_str());
  }

  // Python: tcpserver_test.TestMultiprocess.test_listen_single
  TEST_CASE("TCPServer.listen: in a process of its own, which ends without a word") {
    // As a sanity check, run the single-process version through this test harness too.
    int out[2];
    REQUIRE(::pipe(out) == 0);
    const test::Child child = test::run_in_child([&out] {
      test::Loop loop;
      loop.run([] {
        TCPServer server;
        server.listen(0, "127.0.0.1");
      });
      CHECK(::write(out[1], "012", 3) == 3);
    });
    ::close(out[1]);
    char buffer[10];
    const ssize_t size = ::read(out[0], buffer, sizeof buffer);
    ::close(out[0]);
    CHECK(child.succeeded());
    CHECK(std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(size, 0))) == "012");
    CHECK(child.text == "");
  }

  // ---- stop

  // Python: tcpserver_test.TCPServerTest.test_stop_twice
  TEST_CASE("TCPServer.stop: twice (T1)") {
    test::Loop loop;
    auto [sock, port] = test::bind_unused_port();
    TCPServer server;
    server.add_socket(std::move(sock));
    server.stop();
    server.stop();
    CHECK(server.addresses().empty());
  }

  TEST_CASE("TCPServer.stop: the second does not touch the new owner of the descriptor (T1)") {
    test::Loop loop;
    Server server(echo);
    auto [socket, address] = test::listen(Transport::tcp);
    const int fd = socket.native_handle();
    server.add_socket(std::move(socket));
    server.stop();
    Server stranger(echo);
    auto [reused, other_address] = test::listen(Transport::tcp);
    CHECK(reused.native_handle() == fd);
    stranger.add_socket(std::move(reused));
    server.stop();
    CHECK(echoed(loop, connect_to(loop, stranger.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.stop: refuses new connections, and those that there are go on") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    server.bind(0, "127.0.0.1");
    const auto addresses = server.addresses();
    const IOStream client = connect_to(loop, addresses[0]);
    CHECK(echoed(loop, client, "before") == "before\n");
    server.stop();
    CHECK(server.addresses().empty());
    for (const Address& address : addresses) {
      CHECK(why_closed(loop, IOStream(Socket::tcp(AF_INET)).connect(address)) ==
            std::errc::connection_refused);
    }
    CHECK(echoed(loop, client, "after") == "after\n");
    CHECK(server.connections() == 1);
    server.listen(0, "127.0.0.1");
    CHECK(echoed(loop, connect_to(loop, server.address()), "again") == "again\n");
  }

  // Python: tcpserver_test.TCPServerTest.test_stop_in_callback
  TEST_CASE("TCPServer.stop: inside a handler, with other connections waiting (T2)") {
    // Issue #2069: calling server.stop() in a loop callback should not raise EBADF when the loop
    // handles other server connection requests in the same loop iteration
    test::Loop loop;
    Server* self = nullptr;
    int handled = 0;
    Server server([&](IOStream stream, Address) -> Future<void> {
      ++handled;
      self->stop();
      co_await stream.read_until_close();
    });
    self = &server;
    server.listen(0, "127.0.0.1");
    const Address server_addr = server.address();
    std::vector<IOStream> clients;
    std::vector<Future<IOStream>> connects;
    for (int i = 0; i < 40; ++i) {
      clients.emplace_back(Socket::tcp(AF_INET));
      connects.push_back(clients.back().connect(server_addr));
    }
    wait_until(loop, [&] {
      return std::all_of(connects.begin(), connects.end(), [](const auto& c) { return c.done(); });
    });
    // As in Python, connects may fail, but not all of them.
    const auto connected = std::count_if(connects.begin(), connects.end(), [](const auto& connect) {
      return connect.exception() == nullptr;
    });
    CHECK_MESSAGE(connected > 0, "all clients failed connecting");
    CHECK(handled == 1);
    clients.clear();
    connects.clear();
    wait_until(loop, [&] { return server.connections() == 0; });
  }

  TEST_CASE("TCPServer: a connection that waits when the server goes is closed") {
    test::Loop loop;
    const int before = test::open_descriptors();
    {
      auto server = std::make_unique<Server>(echo);
      server->listen(0, "127.0.0.1");
      const auto connected = IOStream(Socket::tcp(AF_INET)).connect(server->address());
      server.reset();
      try {
        const IOStream client = result(loop, connected);
        CHECK_THROWS_AS(result(loop, client.read_bytes(1)), StreamClosedError);
      } catch (const StreamClosedError&) {
      }
    }
    loop.iterate(2);
    CHECK(test::open_descriptors() <= before + 1);  // the loop's set of handlers
  }

  // ---- handle_stream

  // Python: tcpserver_test.TCPServerTest.test_handle_stream_coroutine_logging
  TEST_CASE("TCPServer.handle_stream: a coroutine's failure is logged (T3)") {
    // handle_stream may be a coroutine and any exception in its Future will be logged.
    test::Loop loop;
    Server server([](IOStream stream, Address) -> Future<void> {
      co_await stream.read_bytes(5);
      stream.close();
      throw std::domain_error("1 / 0");
    });
    server.listen(0, "127.0.0.1");
    const IOStream client(Socket::tcp(AF_INET));
    // Python says "Exception in callback".
    const test::ExpectLog expected(log::app_log, "Error in handle_stream of 127.0.0.1:");
    result(loop, client.connect(server.address()));
    result(loop, client.write("hello"));
    result(loop, client.read_until_close());
    loop.iterate(2);
    CHECK(expected.count() == 1);
  }

  // Python: tcpserver_test.TCPServerTest.test_handle_stream_native_coroutine
  TEST_CASE("TCPServer.handle_stream: a coroutine that never suspends") {
    test::Loop loop;
    Server server([](IOStream stream, Address) -> Future<void> {
      stream.write("data");
      stream.close();
      co_return;
    });
    server.listen(0, "127.0.0.1");
    const IOStream client(Socket::tcp(AF_INET));
    result(loop, client.connect(server.address()));
    CHECK(result(loop, client.read_until_close()) == "data");
    server.stop();
    CHECK(server.connections() == 0);
  }

  TEST_CASE("TCPServer.handle_stream: may fail at any point, and the server goes on (T3)") {
    test::Loop loop;
    int number = 0;
    Server server([&](IOStream stream, const Address& address) -> Future<void> {
      if (++number == 1) throw std::runtime_error("no coroutine yet");
      if (number == 2) {
        return [](IOStream) -> Future<void> {
          throw std::runtime_error("before the first suspension");
          co_return;
        }(std::move(stream));
      }
      if (number == 3) {
        return [](IOStream) -> Future<void> {
          co_await gen::moment;
          throw std::runtime_error("after the first suspension");
        }(std::move(stream));
      }
      if (number == 4) return make_exception_future(std::make_exception_ptr(42));
      return echo(std::move(stream), address);
    });
    server.listen(0, "127.0.0.1");
    const char* const messages[] = {"no coroutine yet", "before the first suspension",
                                    "after the first suspension", "int"};
    for (const char* message : messages) {
      CAPTURE(message);
      const test::ExpectLog expected(log::app_log, message);
      const IOStream client = connect_to(loop, server.address());
      CHECK(result(loop, client.read_until_close()) == "");
      loop.iterate(2);
      CHECK(expected.count() == 1);
      CHECK(server.connections() == 0);
    }
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.handle_stream: the log line says who was connected") {
    test::Loop loop;
    Server server([](IOStream, Address) -> Future<void> {
      co_await gen::moment;
      throw std::runtime_error("something");
    });
    server.listen(0, "127.0.0.1");
    const IOStream client(Socket::tcp(AF_INET));
    client.connect(server.address());
    const test::ExpectLog expected(log::app_log, "Error in handle_stream of " +
                                                     client.local_address().str() +
                                                     ": std::runtime_error: something");
    wait_until(loop, [&] { return expected.count() == 1; });
  }

  TEST_CASE("TCPServer.handle_stream: has to be overridden") {
    test::Loop loop;
    TCPServer server;
    server.listen(0, "127.0.0.1");
    const test::ExpectLog expected(log::app_log, "handle_stream has to be overridden");
    const IOStream client = connect_to(loop, server.addresses().front());
    CHECK(result(loop, client.read_until_close()) == "");
  }

  TEST_CASE("TCPServer.handle_stream: is kept alive, also when it is no coroutine (T3)") {
    test::Loop loop;
    Names gone;
    std::optional<Future<void>> pending;
    Server server([&](IOStream stream, Address) -> Future<void> {
      pending.emplace();
      pending->add_done_callback([stream, mourner = std::make_shared<Mourner>(gone, "callback")] {
        stream.write("done");
      });
      return *pending;
    });
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    wait_until(loop, [&] { return pending.has_value(); });
    loop.iterate(5);
    CHECK(server.connections() == 1);
    CHECK(gone.empty());
    pending->set_result();
    CHECK(result(loop, client.read_until_close()) == "done");
    CHECK(server.connections() == 0);
    CHECK(gone == Names{"callback"});
  }

  TEST_CASE("TCPServer.handle_stream: when it ends, the stream closes after what was written") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const std::string sent = test::pattern(5 * mb);
      Server server([&sent](IOStream stream, Address) -> Future<void> {
        stream.write(sent);
        co_return;
      });
      auto [socket, address] = test::listen(transport);
      server.add_socket(std::move(socket));
      const IOStream client = connect_to(loop, address);
      CHECK((result(loop, client.read_until_close()) == sent));
      CHECK_FALSE(client.error());
    }
  }

  TEST_CASE("TCPServer.handle_stream: a handle that is kept elsewhere keeps the stream") {
    test::Loop loop;
    std::optional<IOStream> kept;
    Server server([&kept](IOStream stream, Address) -> Future<void> {
      kept = stream;
      co_return;
    });
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    wait_until(loop, [&] { return kept.has_value(); });
    CHECK(server.connections() == 0);
    kept->write("hello");
    CHECK(result(loop, client.read_bytes(5)) == "hello");
    server.close_all_connections();  // it is not among those
    kept->write("hello");
    CHECK(result(loop, client.read_bytes(5)) == "hello");
    kept.reset();
    CHECK(result(loop, client.read_until_close()) == "");
  }

  TEST_CASE("TCPServer: the options reach the streams (T4)") {
    test::Loop loop;
    std::optional<IOStreamOptions> options;
    Server server(
        [&options](IOStream stream, Address) -> Future<void> {
          options = stream.options();
          CHECK(stream.remote_address().host() == "127.0.0.1");
          co_return;
        },
        {.max_buffer_size = 1000, .read_chunk_size = 100, .max_write_buffer_size = 10});
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    wait_until(loop, [&] { return options.has_value(); });
    CHECK(options->max_buffer_size == 1000);
    CHECK(options->read_chunk_size == 100);
    CHECK(options->max_write_buffer_size == 10);
  }
}
