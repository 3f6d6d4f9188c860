// SPDX-License-Identifier: Apache-2.0
//
// The life of an IOStream: how it is made, is used, and is held. How it connects is in
// iostream_connect_test.cpp, what it reads and writes in iostream_read_test.cpp and
// iostream_write_test.cpp, its end in iostream_close_test.cpp and iostream_teardown_test.cpp.
#include "tornado/iostream.hpp"

#include "server_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <cerrno>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

using namespace tornado;
using test::HelloServer;
using test::make_iostream_pair;
using test::make_narrow_pair;
using test::mb;
using test::result;
using test::some_iterations;
using test::Transport;
using test::wait_until;
using test::why_closed;

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
}
