// SPDX-License-Identifier: Apache-2.0
//
// The life of an IOStream: how it is made, connects, is held, and is torn down. What it reads and
// writes is in iostream_read_test.cpp and iostream_write_test.cpp, its end in
// iostream_close_test.cpp.
#include "tornado/iostream.hpp"

#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"
#include "tornado/tcpserver.hpp"

#include <cerrno>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

using namespace tornado;
using test::Counted;
using test::make_iostream_pair;
using test::make_narrow_pair;
using test::make_wire_stream;
using test::mb;
using test::result;
using test::some_iterations;
using test::Transport;
using test::wait_until;
using test::why_closed;

namespace {

// The part of Tornado's HelloHandler that tests of streams can see.
class HelloServer : public TCPServer {
 public:
  HelloServer() { listen(0, "127.0.0.1"); }
  ~HelloServer() override { close_all_connections(); }
  Address address() const { return addresses().front(); }

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    co_await stream.read_until("\r\n\r\n");
    stream.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nHello");
  }
};

}  // namespace

TEST_SUITE("iostream") {
  // ---- how it is made

  TEST_CASE("IOStream: refuses what is not an open stream socket, and options out of range") {
    test::Loop loop;
    const int before = test::open_descriptors();
    CHECK_THROWS_AS(IOStream{Socket()}, std::system_error);
    CHECK_THROWS_AS(IOStream(Socket(::socket(AF_INET, SOCK_DGRAM, 0))), std::system_error);
    CHECK_THROWS_AS(IOStream(std::unique_ptr<StreamBackend>()), std::invalid_argument);
    const IOStreamOptions no_buffer{.max_buffer_size = 0};
    CHECK_THROWS_AS(IOStream(Socket::tcp(AF_INET), no_buffer), std::invalid_argument);
    const IOStreamOptions no_chunk{.read_chunk_size = 0};
    CHECK_THROWS_AS(IOStream(Socket::tcp(AF_INET), no_chunk), std::invalid_argument);
    // They took the sockets over, and closed them.
    CHECK(test::open_descriptors() == before);
    CHECK(IOStream(Socket::tcp(AF_INET), {.read_chunk_size = 7}).options().read_chunk_size == 7);
  }

  TEST_CASE("IOStream: copies of a handle mean one stream") {
    test::Loop loop;
    const IOStream none;
    CHECK_FALSE(none);
    auto [a, b] = make_iostream_pair();
    CHECK(a);
    CHECK_FALSE(a == b);
    IOStream copy = a;
    CHECK(copy == a);
    const IOStream moved = std::move(copy);
    CHECK(moved == a);
    CHECK_FALSE(copy);  // NOLINT(bugprone-use-after-move): that is what is tested
    copy = b;
    CHECK(copy == b);
    copy = *&copy;
    CHECK(copy == b);
    moved.close();
    CHECK(a.closed());
    CHECK_FALSE(b.closed());
  }

  TEST_CASE("IOStream: its socket does not block, and is closed on exec (S36)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [a, b] = make_iostream_pair(transport);
      const int fd = a.fileno();
      for (const IOStream& stream : {a, b}) {
        CHECK((::fcntl(stream.fileno(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((::fcntl(stream.fileno(), F_GETFL) & O_NONBLOCK) != 0);
      }
      a.close();
      CHECK(a.fileno() == Socket::invalid_handle);
      CHECK(::fcntl(fd, F_GETFD) == -1);
    }
  }

  TEST_CASE("IOStream: addresses and options of the socket") {
    test::Loop loop;
    const auto [a, b] = make_iostream_pair();
    CHECK(a.local_address() == b.remote_address());
    CHECK(a.remote_address() == b.local_address());
    CHECK(a.local_address().host() == "127.0.0.1");

    a.set_nodelay(true);
    CHECK(a.getsockopt(IPPROTO_TCP, TCP_NODELAY) != 0);
    a.set_nodelay(false);
    CHECK(a.getsockopt(IPPROTO_TCP, TCP_NODELAY) == 0);
    a.set_keepalive(true);
    CHECK(a.getsockopt(SOL_SOCKET, SO_KEEPALIVE) != 0);
    a.set_keepalive(false);
    CHECK(a.getsockopt(SOL_SOCKET, SO_KEEPALIVE) == 0);
    a.set_send_buffer_size(20000);
    CHECK(a.getsockopt(SOL_SOCKET, SO_SNDBUF) >= 20000);
    a.set_receive_buffer_size(30000);
    CHECK(a.getsockopt(SOL_SOCKET, SO_RCVBUF) >= 30000);
    a.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1);
    CHECK(a.getsockopt(SOL_SOCKET, SO_OOBINLINE) != 0);
    CHECK_THROWS_AS(a.setsockopt(SOL_SOCKET, -1, 1), std::system_error);
    // None of that took the socket away.
    a.write("x");
    CHECK(result(loop, b.read_bytes(1)) == "x");

    const auto [unix_a, unix_b] = make_iostream_pair(Transport::local);
    CHECK(unix_a.local_address().family() == AF_UNIX);
    CHECK_THROWS_AS(unix_a.set_nodelay(true), std::system_error);

    a.close();
    CHECK_THROWS_AS(static_cast<void>(a.local_address()), std::system_error);
    CHECK_THROWS_AS(static_cast<void>(a.remote_address()), std::system_error);
    CHECK_THROWS_AS(a.set_nodelay(true), std::system_error);
    CHECK_THROWS_AS(a.set_keepalive(true), std::system_error);
    CHECK_THROWS_AS(a.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1), std::system_error);
  }

  TEST_CASE("StreamClosedError: says what was asked for, and why it could not be") {
    CHECK(StreamClosedError().what() == std::string("Stream is closed"));
    CHECK(StreamClosedError().code() == StreamErrc::closed);
    CHECK_FALSE(StreamClosedError().real_error());

    const std::error_code reset(ECONNRESET, std::system_category());
    const StreamClosedError error(reset, "connect to 127.0.0.1:1");
    CHECK(error.real_error() == reset);
    CHECK(error.code() == reset);
    CHECK(error.what() == "connect to 127.0.0.1:1: " + reset.message());
    const StreamClosedError copy = error;
    CHECK(copy.real_error() == reset);
    CHECK(copy.what() == std::string(error.what()));
    CHECK_THROWS_AS(throw StreamClosedError(reset), IOError);

    CHECK(stream_category().name() == std::string("tornado.iostream"));
    CHECK(make_error_code(StreamErrc::closed).message() == "Stream is closed");
    CHECK(make_error_code(StreamErrc::unsatisfiable_read).message().find("Unsatisfiable read") ==
          0);
    CHECK(make_error_code(StreamErrc::buffer_full).message() == "Reached maximum read buffer size");
    CHECK(std::error_code(99, stream_category()).message() == "unknown error");
  }

  // ---- connect

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

  // ---- Tornado's tests with a web server

  // Python: iostream_test.TestIOStreamWebMixin.test_read_until_close
  TEST_CASE("IOStream: a whole response, until the server closes") {
    test::Loop loop;
    HelloServer server;
    const IOStream stream(Socket::tcp(AF_INET));
    result(loop, stream.connect(server.address()));
    stream.write("GET / HTTP/1.0\r\n\r\n");

    const std::string data = result(loop, stream.read_until_close());
    CHECK(data.starts_with("HTTP/1.1 200"));
    CHECK(data.ends_with("Hello"));
  }

  // Python: iostream_test.TestIOStreamWebMixin.test_read_zero_bytes
  TEST_CASE("IOStream: zero bytes are read between others (S9)") {
    test::Loop loop;
    HelloServer server;
    const IOStream stream(Socket::tcp(AF_INET));
    result(loop, stream.connect(server.address()));
    stream.write("GET / HTTP/1.0\r\n\r\n");

    // normal read
    CHECK(result(loop, stream.read_bytes(9)) == "HTTP/1.1 ");
    // zero bytes
    CHECK(result(loop, stream.read_bytes(0)) == "");
    // another normal read
    CHECK(result(loop, stream.read_bytes(3)) == "200");
  }

  namespace {

  Future<void> request_hello(Address address) {
    const IOStream stream(Socket::tcp(AF_INET));
    const IOStream connect_result = co_await stream.connect(address);
    CHECK(connect_result == stream);
    co_await stream.write("GET / HTTP/1.0\r\n\r\n");
    const std::string first_line = co_await stream.read_until("\r\n");
    CHECK(first_line == "HTTP/1.1 200 OK\r\n");
    const std::string headers = co_await stream.read_until("\r\n\r\n");
    const std::string wanted = "Content-Length: ";
    const std::size_t at = headers.find(wanted);
    CHECK(at != headers.npos);
    const auto content_length = std::stoul(headers.substr(at + wanted.size()));
    const std::string body = co_await stream.read_bytes(content_length);
    CHECK(body == "Hello");
    stream.close();
  }

  }  // namespace

  // Python: iostream_test.TestIOStreamWebMixin.test_future_interface
  TEST_CASE("IOStream: in a coroutine") {
    // Basic test of IOStream's ability to return Futures.
    test::Loop loop;
    HelloServer server;
    result(loop, request_hello(server.address()));
  }

  // Python: iostream_test.TestIOStreamWebMixin.test_future_close_while_reading
  TEST_CASE("IOStream: closed by the server while reading") {
    test::Loop loop;
    HelloServer server;
    const IOStream stream(Socket::tcp(AF_INET));
    result(loop, stream.connect(server.address()));
    result(loop, stream.write("GET / HTTP/1.0\r\n\r\n"));
    CHECK(why_closed(loop, stream.read_bytes(1024 * 1024)) == std::error_code());
  }

  // Python: iostream_test.TestIOStreamWebMixin.test_future_read_until_close
  TEST_CASE("IOStream: the data comes through before the StreamClosedError") {
    test::Loop loop;
    HelloServer server;
    const IOStream stream(Socket::tcp(AF_INET));
    result(loop, stream.connect(server.address()));
    result(loop, stream.write("GET / HTTP/1.0\r\nConnection: close\r\n\r\n"));
    result(loop, stream.read_until("\r\n\r\n"));
    CHECK(result(loop, stream.read_until_close()) == "Hello");

    // Nothing else to read; the error comes immediately without waiting for the loop.
    const auto future = stream.read_bytes(1);
    CHECK(future.done());
    CHECK_THROWS_AS(future.result(), StreamClosedError);
  }

  // ---- handles

  TEST_CASE("IOStream: the last handle closes an idle stream, the others do not") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [rs, ws] = make_iostream_pair(transport);
      int calls = 0;
      ws.set_close_callback([&calls] { ++calls; });
      const auto rest = rs.read_until_close();
      {
        const IOStream copy = ws;
        const IOStream another = copy;
      }
      loop.iterate(some_iterations);
      CHECK_FALSE(rest.done());
      ws = IOStream();
      CHECK(result(loop, rest) == "");
      CHECK(calls == 1);
    }
  }

  TEST_CASE("IOStream: what was written leaves after the last handle went") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [rs, ws] = make_narrow_pair(transport);
      const std::string sent = test::pattern(2 * mb);
      const int before = test::open_descriptors();
      int calls = 0;
      ws.set_close_callback([&calls] { ++calls; });
      const auto written = ws.write(sent);
      ws = IOStream();
      CHECK((result(loop, rs.read_until_close()) == sent));
      CHECK_NOTHROW(written.result());
      CHECK(test::open_descriptors() == before - 2);
      loop.iterate(2);
      CHECK(calls == 1);
    }
  }

  TEST_CASE("IOStream: a pending read goes on without a handle") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [rs, ws] = make_iostream_pair(transport);
      int calls = 0;
      rs.set_close_callback([&calls] { ++calls; });
      const auto line = rs.read_until("\n");
      rs = IOStream();
      loop.iterate(some_iterations);
      CHECK_FALSE(line.done());
      ws.write("hello\nand more");
      CHECK(result(loop, line) == "hello\n");
      // Then nothing is pending, and nobody can ask for more.
      bool closed = false;
      ws.set_close_callback([&closed] { closed = true; });
      wait_until(loop, [&] { return closed; });
      CHECK(calls == 1);
    }
  }

  TEST_CASE("IOStream: a cancelled read, without a handle, closes") {
    test::Loop loop;
    auto [rs, ws] = make_iostream_pair();
    const auto line = rs.read_until("\n");
    rs = IOStream();
    loop.iterate(2);
    CHECK(line.cancel());
    CHECK(result(loop, ws.read_until_close()) == "");
  }

  TEST_CASE("IOStream: the connect's Future is a handle") {
    test::Loop loop;
    auto [listener, address] = test::listen(Transport::tcp);
    IOStream client(Socket::tcp(AF_INET));
    auto connected = client.connect(address);
    client = IOStream();
    wait_until(loop, [&] { return connected.done(); });
    auto accepted = listener.accept();
    REQUIRE(accepted);
    const IOStream server(std::move(accepted->first));
    const auto rest = server.read_until_close();
    loop.iterate(some_iterations);
    CHECK_FALSE(rest.done());
    connected.result().write("bye");
    connected = Future<IOStream>();
    CHECK(result(loop, rest) == "bye");
  }

  TEST_CASE("IOStream: no descriptor is left, however it ends") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      loop.iterate();
      const int before = test::open_descriptors();
      for (int i = 0; i < 20; ++i) {
        {
          const auto [rs, ws] = make_iostream_pair(transport);
          const auto rest = rs.read_until_close();
          ws.write("abc");
          ws.close();
          CHECK(result(loop, rest) == "abc");
        }
        {
          const auto [rs, ws] = make_iostream_pair(transport);
          const auto line = rs.read_until("\n");
          loop.iterate(2);
        }
        {
          const auto [rs, ws] = make_iostream_pair(transport);
          ws.set_close_callback([] {});
          rs.write(std::string(1000, 'a'));
          loop.iterate(2);
        }
        {
          const IOStream client(test::client_socket(transport));
          client.connect(address);
        }
        auto accepted = listener.accept();
        CHECK(accepted);
      }
      wait_until(loop, [&] { return test::open_descriptors() == before; });
    }
  }

  // ---- the loop closes

  TEST_CASE("IOStream: a handle may outlive the loop") {
    std::optional<IOStream> stream;
    std::optional<Future<std::string>> read;
    std::optional<Future<void>> written;
    int live = 0;
    {
      test::Loop loop;
      const auto [rs, ws] = make_narrow_pair();
      stream = rs;
      read = rs.read_bytes(1);
      written = rs.write(std::string(mb, 'a'));
      rs.set_close_callback([counted = Counted(live)] { FAIL_CHECK("it was called"); });
      loop.iterate(2);
      CHECK(live == 1);
    }
    CHECK(live == 0);
    CHECK(stream->closed());
    CHECK(read->cancelled());
    CHECK(written->cancelled());
    CHECK(stream->fileno() == Socket::invalid_handle);
    CHECK(stream->read_bytes(1).done());
    CHECK(stream->write("abc").done());
    CHECK(stream->connect(Address("127.0.0.1", 1)).done());
    stream->close();
    stream->flush();
    stream->set_close_callback([counted = Counted(live)] { FAIL_CHECK("it was called"); });
    CHECK(live == 0);
    const IOStream copy = *stream;
    CHECK(copy == *stream);
    stream.reset();
    CHECK(copy.closed());
  }

  TEST_CASE("IOStream: what was written is offered to the system when the loop closes") {
    auto [accepted, peer] = test::connected_sockets();
    {
      test::Loop loop;
      const IOStream stream(std::move(accepted));
      stream.write("goodbye");
    }
    char buffer[100];
    test::wait_for_events(peer.native_handle(), POLLIN);
    CHECK(std::string(buffer, static_cast<std::size_t>(::recv(peer.native_handle(), buffer,
                                                              sizeof buffer, 0))) == "goodbye");
  }

  namespace {

  // What the two sides of a conversation have in common with the test.
  struct Trace {
    int steps = 0;  // how often one of them went on
    int live = 0;   // how many of them there are
  };

  // More than the system's buffers hold.
  const std::string& request() {
    static const std::string bytes = test::pattern(4 * mb);
    return bytes;
  }

  // Waits for each of the things that one can wait for with a stream.
  Future<void> converse(Transport transport, Address address, Trace& trace) {
    const Counted counted(trace.live);
    const IOStream stream(test::client_socket(transport));
    stream.set_close_callback([counted] {});
    co_await stream.connect(address);
    ++trace.steps;
    co_await stream.write(request());
    ++trace.steps;
    const std::string line = co_await stream.read_until("\n");
    CHECK(line == "a line\n");
    ++trace.steps;
    std::string buffer(100000, '\0');
    const std::size_t count = co_await stream.read_into(buffer);
    CHECK(count == buffer.size());
    ++trace.steps;
    const std::string partial = co_await stream.read_bytes(1000, Partial::yes);
    CHECK(partial == "a part");
    ++trace.steps;
    co_await stream.write("next");
    ++trace.steps;
    const std::string rest = co_await stream.read_until_close();
    CHECK((rest == "the rest" || rest.empty()));
  }

  class Conversation : public TCPServer {
   public:
    explicit Conversation(Trace& trace) : trace_(trace) {}
    ~Conversation() override { close_all_connections(); }

   private:
    Future<void> handle_stream(IOStream stream, Address) override {
      const Counted counted(trace_.live);
      try {
        co_await talk(stream);
      } catch (const StreamClosedError&) {
      }
    }
    Future<void> talk(const IOStream& stream) {
      const Counted counted(trace_.live);
      const std::string received = co_await stream.read_bytes(request().size());
      CHECK((received == request()));
      ++trace_.steps;
      stream.write("a line\n");
      co_await gen::moment;
      ++trace_.steps;
      co_await stream.write(std::string(100000, 'b'));
      ++trace_.steps;
      co_await stream.write("a part");
      ++trace_.steps;
      const std::string next = co_await stream.read_bytes(4);
      CHECK(next == "next");
      ++trace_.steps;
      co_await gen::moment;
      ++trace_.steps;
      co_await stream.write("the rest");
      ++trace_.steps;
    }

    Trace& trace_;
  };

  // Begins the conversation, and lets it go on for so many steps, and some iterations more. Says
  // whether it had ended by then. `stop_it(loop, server, future)` puts an end to it.
  template <class F>
  bool converse_for(Transport transport, int steps, int iterations, F stop_it) {
    const int descriptors = test::open_descriptors();
    Trace trace;
    bool ended;
    {
      auto loop = std::make_unique<test::Loop>();
      auto server = std::make_unique<Conversation>(trace);
      auto [listener, address] = test::listen(transport);
      server->add_socket(std::move(listener));
      const Future<void> future = converse(transport, address, trace);
      wait_until(*loop, [&] { return trace.steps >= steps || future.done(); });
      loop->iterate(iterations);
      ended = future.done();
      stop_it(loop, server, future);
      CHECK(future.done());
      CHECK(trace.live == 0);
    }
    CHECK(test::open_descriptors() == descriptors);
    return ended;
  }

  using LoopPointer = std::unique_ptr<test::Loop>;
  using ServerPointer = std::unique_ptr<Conversation>;

  template <class F>
  void stop_at_each_step(F stop_it) {
    for (const Transport transport : test::transports) {
      for (const int iterations : {0, 2}) {
        int steps = 0;
        while (!converse_for(transport, steps, iterations, stop_it)) {
          REQUIRE(steps++ < 20);
        }
        CHECK(steps > 10);
      }
    }
  }

  }  // namespace

  TEST_CASE("IOStream: the loop may close at each step of a conversation") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>&) {
      loop.reset();
      server.reset();
    });
  }

  TEST_CASE("IOStream: the server may go at each step of a conversation, and then the loop") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>&) {
      server.reset();
      loop.reset();
    });
  }

  TEST_CASE("IOStream: the client may be cancelled at each step of a conversation") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>& future) {
      const bool ended = future.done();
      CHECK(future.cancel() != ended);
      wait_until(*loop, [&future] { return future.done(); });
      CHECK(future.cancelled() != ended);
      server->close_all_connections();
      loop->iterate(5);
    });
  }

  TEST_CASE("IOStream: the client may lose its server at each step of a conversation") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>& future) {
      server->stop();
      server->close_all_connections();
      wait_until(*loop, [&future] { return future.done(); });
      if (future.exception()) CHECK_THROWS_AS(future.result(), StreamClosedError);
      loop->iterate(5);
    });
  }
}
