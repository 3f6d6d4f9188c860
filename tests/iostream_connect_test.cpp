// SPDX-License-Identifier: Apache-2.0
//
// IOStream::connect.
#include "server_support.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace tornado;
using test::HelloServer;
using test::result;
using test::some_iterations;
using test::Transport;
using test::wait_until;
using test::why_closed;

TEST_SUITE("iostream") {
  TEST_CASE("IOStream.connect: gives the stream, connected") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      const IOStream client(test::client_socket(transport));
      const auto connected = client.connect(address);
      CHECK_FALSE(connected.done());
      CHECK(result(loop, connected) == client);
      CHECK(client.remote_address() == address);
      auto accepted = listener.accept();
      REQUIRE(accepted);
      const IOStream server(std::move(accepted->first));
      server.write("hello");
      CHECK(result(loop, client.read_bytes(5)) == "hello");
      client.write("goodbye");
      CHECK(result(loop, server.read_bytes(7)) == "goodbye");
    }
  }

  // Python: iostream_test.TestIOStreamMixin.test_connection_refused
  TEST_CASE("IOStream.connect: refused (S24)") {
    test::Loop loop;
    const auto [holder, port] = test::refusing_port();
    const IOStream stream(Socket::tcp(AF_INET));
    bool closed = false;
    bool connect_called = false;  // 4.5: the callback of a connect that fails is not called
    stream.set_close_callback([&closed] { closed = true; });
    const auto connected = stream.connect(Address("127.0.0.1", port));
    connected.add_done_callback([&](const Future<IOStream>& future) {
      connect_called = future.exception() == nullptr;
      CHECK_FALSE(closed);
    });
    CHECK(why_closed(loop, connected) == std::errc::connection_refused);
    CHECK(stream.error() == std::errc::connection_refused);
    CHECK(stream.error().category() == std::system_category());
    CHECK(stream.closed());
    wait_until(loop, [&] { return closed; });
    CHECK_FALSE(connect_called);
    try {
      connected.result();
    } catch (const StreamClosedError& error) {
      const std::string what = error.what();
      CHECK(what.find("connect to 127.0.0.1:" + std::to_string(port)) != what.npos);
    }
  }

  TEST_CASE("IOStream.connect: refused by a Unix socket that nobody listens on (S24)") {
    test::Loop loop;
    const IOStream stream(Socket::unix_stream());
    const auto connected = stream.connect(Address::unix_path(std::string("\0no such thing", 14)));
    CHECK(connected.done());
    CHECK(why_closed(loop, connected) == std::errc::connection_refused);
    CHECK(stream.closed());
  }

  TEST_CASE("IOStream.connect: an address of another family arrives as an error, not as a throw") {
    test::Loop loop;
    const IOStream stream(Socket::tcp(AF_INET));
    CHECK(why_closed(loop, stream.connect(Address("::1", 1))) ==
          std::errc::address_family_not_supported);
    CHECK(stream.closed());
  }

  TEST_CASE("IOStream.connect: a second one throws, and harms nothing") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      const IOStream client(test::client_socket(transport));
      const auto connected = client.connect(address);
      CHECK_THROWS_WITH_AS(client.connect(address),
                           "IOStream::connect: the stream is connecting already", std::logic_error);
      result(loop, connected);
      CHECK_THROWS_WITH_AS(client.connect(address),
                           "IOStream::connect: the stream is connected already", std::logic_error);
      CHECK_FALSE(client.closed());
      auto accepted = listener.accept();
      REQUIRE(accepted);
      const IOStream server(std::move(accepted->first));
      CHECK_THROWS_AS(server.connect(address), std::logic_error);
      server.write("hello");
      CHECK(result(loop, client.read_bytes(5)) == "hello");
    }
  }

  TEST_CASE("IOStream.connect: on a closed stream it fails through its Future") {
    test::Loop loop;
    const auto [holder, port] = test::refusing_port();
    const Address address("127.0.0.1", port);
    const IOStream stream(Socket::tcp(AF_INET));
    CHECK(why_closed(loop, stream.connect(address)) == std::errc::connection_refused);
    CHECK(why_closed(loop, stream.connect(address)) == std::errc::connection_refused);
    const IOStream closed(Socket::tcp(AF_INET));
    closed.close();
    CHECK(why_closed(loop, closed.connect(address)) == std::error_code());
  }

  // Python: iostream_test.TestIOStreamWebMixin.test_write_while_connecting
  TEST_CASE("IOStream.connect: what is written meanwhile is sent afterwards (S11)") {
    test::Loop loop;
    HelloServer server;
    const IOStream stream(Socket::tcp(AF_INET));
    std::vector<std::string> resolved_order;
    const auto connect_future = stream.connect(server.address());
    // unlike the previous tests, try to write before the connection is complete.
    const auto write_future = stream.write("GET / HTTP/1.0\r\nConnection: close\r\n\r\n");
    CHECK_FALSE(connect_future.done());
    write_future.add_done_callback([&] { resolved_order.push_back("write"); });
    connect_future.add_done_callback([&] { resolved_order.push_back("connect"); });

    // connect will always complete before write.
    wait_until(loop, [&] { return resolved_order.size() == 2; });
    CHECK(resolved_order == std::vector<std::string>{"connect", "write"});

    const std::string data = result(loop, stream.read_until_close());
    CHECK(data.ends_with("Hello"));
  }

  TEST_CASE("IOStream.connect: a read may begin before, and so may the close callback") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      const IOStream client(test::client_socket(transport));
      bool closed = false;
      // Reading ahead from a socket that is not connected gives an error, which means nothing.
      client.set_close_callback([&closed] { closed = true; });
      loop.iterate(5);
      CHECK_FALSE(client.closed());
      const auto connected = client.connect(address);
      const auto read = client.read_bytes(5);
      result(loop, connected);
      auto accepted = listener.accept();
      REQUIRE(accepted);
      const IOStream server(std::move(accepted->first));
      server.write("hello");
      CHECK(result(loop, read) == "hello");
      CHECK_FALSE(closed);
      server.close();
      wait_until(loop, [&] { return closed; });
    }
  }

  TEST_CASE("IOStream.connect: closed meanwhile, by the program (S3)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      const int before = test::open_descriptors();
      const IOStream client(test::client_socket(transport));
      const auto connected = client.connect(address);
      const auto written = client.write("never sent");
      const auto read = client.read_bytes(1);
      client.close(std::make_error_code(std::errc::timed_out));
      CHECK(why_closed(loop, connected) == std::errc::timed_out);
      CHECK(why_closed(loop, written) == std::errc::timed_out);
      CHECK(why_closed(loop, read) == std::errc::timed_out);
      loop.iterate(some_iterations);
      CHECK(test::open_descriptors() == before);
    }
  }

  TEST_CASE("IOStream.connect: cancelled, the stream is closed") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      const IOStream client(test::client_socket(transport));
      bool closed = false;
      client.set_close_callback([&closed] { closed = true; });
      const auto connected = client.connect(address);
      const auto written = client.write("never sent");
      CHECK(connected.cancel());
      CHECK(connected.cancelled());
      CHECK(client.closed());
      CHECK(client.error() == std::errc::operation_canceled);
      CHECK(why_closed(loop, written) == std::errc::operation_canceled);
      wait_until(loop, [&] { return closed; });
    }
  }

  TEST_CASE("IOStream.connect: goes on without a handle, and what was written leaves") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      {
        const IOStream client(test::client_socket(transport));
        client.connect(address);
        client.write("hello");
      }
      std::optional<std::pair<Socket, Address>> accepted;
      wait_until(loop, [&] {
        if (!accepted) accepted = listener.accept();
        return accepted.has_value();
      });
      const IOStream server(std::move(accepted->first));
      CHECK(result(loop, server.read_until_close()) == "hello");
      CHECK_FALSE(server.error());
    }
  }

  TEST_CASE("IOStream.connect: a Unix socket whose backlog is full is waited for") {
    test::Loop loop;
    auto [listener, address] = test::listen(Transport::local, 0);
    std::vector<IOStream> streams;
    std::vector<Future<IOStream>> connected;
    for (int i = 0; i < 5; ++i) {
      streams.emplace_back(Socket::unix_stream());
      connected.push_back(streams.back().connect(address));
      streams.back().write(std::to_string(i));
    }
    result(loop, connected[0]);
    loop.iterate(some_iterations);
    CHECK_FALSE(connected[1].done());
    // One gives up, one is closed, one is dropped: it goes on.
    CHECK(connected[1].cancel());
    streams[2].close();
    CHECK(why_closed(loop, connected[2]) == std::error_code());
    streams[3] = IOStream();
    connected[3] = Future<IOStream>();

    std::string order;
    while (order.size() < 3) {
      std::optional<std::pair<Socket, Address>> accepted;
      wait_until(loop, [&] {
        if (!accepted) accepted = listener.accept();
        return accepted.has_value();
      });
      order += result(loop, IOStream(std::move(accepted->first)).read_bytes(1));
    }
    CHECK((order == "034" || order == "043"));
    result(loop, connected[4]);
  }

  TEST_CASE("IOStream.connect: a loop may close while a full backlog is waited for") {
    auto [listener, address] = test::listen(Transport::local, 0);
    const int before = test::open_descriptors();
    {
      test::Loop loop;
      const IOStream first(Socket::unix_stream());
      const IOStream second(Socket::unix_stream());
      result(loop, first.connect(address));
      second.connect(address);
      loop.iterate(2);
    }
    CHECK(test::open_descriptors() == before);
  }
}
