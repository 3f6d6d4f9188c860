// SPDX-License-Identifier: Apache-2.0
//
// Ending one direction of a stream: IOStream::shutdown_write, IOStreamOptions::allow_half_open.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using namespace tornado;
using test::make_iostream_pair;
using test::make_narrow_pair;
using test::make_wire_stream;
using test::mb;
using test::result;
using test::Transport;
using test::wait_until;
using test::why_closed;

TEST_SUITE("iostream") {
  TEST_CASE("IOStream.shutdown_write: the other end reads all and the end, and can answer (S39)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [server, client] = make_iostream_pair({.allow_half_open = true}, transport);
      client.write("question");
      result(loop, client.shutdown_write());
      CHECK_FALSE(client.closed());
      CHECK(result(loop, server.read_until_close()) == "question");
      CHECK_FALSE(server.closed());
      const std::string answer = test::pattern(mb);
      server.write(answer);
      const auto server_ended = server.shutdown_write();
      CHECK(result(loop, client.read_until_close()) == answer);
      result(loop, server_ended);
      // Both have ended.
      CHECK(server.closed());
      CHECK(client.closed());
      CHECK(server.error() == std::error_code());
      CHECK(client.error() == std::error_code());
    }
  }

  TEST_CASE("IOStream.shutdown_write: comes behind all that was written") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [reader, writer] = make_narrow_pair(transport);
      const std::string data = test::pattern(2 * mb);
      const auto written = writer.write(data);
      const auto ended = writer.shutdown_write();
      CHECK(writer.writing());
      loop.iterate(3);
      CHECK_FALSE(ended.done());
      CHECK(result(loop, reader.read_until_close()) == data);
      result(loop, written);
      result(loop, ended);
      CHECK_FALSE(writer.writing());
    }
  }

  TEST_CASE("IOStream.shutdown_write: no write after it") {
    test::Loop loop;
    const auto [reader, writer] = make_iostream_pair();
    const auto ended = writer.shutdown_write();
    CHECK_THROWS_AS(writer.write("x"), std::logic_error);
    CHECK_THROWS_AS(writer.write_file(0), std::logic_error);
    result(loop, ended);
    CHECK_THROWS_AS(writer.write(""), std::logic_error);
    result(loop, writer.shutdown_write());
  }

  TEST_CASE("IOStream.shutdown_write: while connecting it follows the connection") {
    for (const Transport transport : {Transport::tcp, Transport::local}) {
      CAPTURE(transport);
      test::Loop loop;
      auto [listener, address] = test::listen(transport);
      const IOStream client(test::client_socket(transport));
      const auto connected = client.connect(address);
      client.write("hello");
      const auto ended = client.shutdown_write();
      test::wait_for_events(listener.native_handle(), POLLIN);
      auto accepted = listener.accept();
      REQUIRE(accepted);
      const IOStream server(std::move(accepted->first));
      CHECK(result(loop, server.read_until_close()) == "hello");
      result(loop, connected);
      result(loop, ended);
    }
  }

  TEST_CASE("IOStream.shutdown_write: the end of the other end does not cut off what is written") {
    // Tornado closes a stream whose other end has ended. Once writing is to end in order it does.
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [server, client] = make_narrow_pair(transport);
      const std::string answer = test::pattern(2 * mb);
      const auto request = server.read_until_close();
      server.write(answer);
      const auto server_ended = server.shutdown_write();
      client.write("request");
      const auto client_ended = client.shutdown_write();
      CHECK(result(loop, request) == "request");
      CHECK_FALSE(server.closed());
      CHECK(result(loop, client.read_until_close()) == answer);
      result(loop, client_ended);
      result(loop, server_ended);
      CHECK(server.closed());
    }
  }

  TEST_CASE("IOStream.shutdown_write: of a stream that cannot, fails, and the stream goes on") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    CHECK(test::outcome([&] {
            const auto ended = stream.shutdown_write();
            loop.iterate(3);
            return ended;
          }())
              .find("IOStream::shutdown_write") == 0);
    result(loop, stream.write("x"));
    CHECK(wire->written == "x");
  }

  TEST_CASE("IOStream.shutdown_write: fails when the stream is closed first") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->room = 0;
    stream.write("x");
    const auto ended = stream.shutdown_write();
    loop.iterate(2);
    stream.close(std::make_error_code(std::errc::timed_out));
    CHECK(why_closed(loop, ended) == std::errc::timed_out);
    const auto [other, other_wire] = make_wire_stream();
    other.close();
    CHECK(why_closed(loop, other.shutdown_write()) == std::error_code());
  }

  TEST_CASE("IOStream.shutdown_write: happens also when the last handle has gone") {
    test::Loop loop;
    const std::string data = test::pattern(mb);
    auto [reader, writer] = make_narrow_pair();
    writer.write(data);
    writer.shutdown_write();
    writer = IOStream();
    CHECK(result(loop, reader.read_until_close()) == data);
  }

  TEST_CASE("IOStreamOptions.allow_half_open: off, the stream closes at the other end's end") {
    test::Loop loop;
    const auto [server, client] = make_iostream_pair();
    result(loop, client.shutdown_write());
    CHECK(result(loop, server.read_until_close()).empty());
    CHECK(server.closed());
    CHECK(why_closed(loop, server.write("late")) == std::error_code());
  }

  TEST_CASE("IOStreamOptions.allow_half_open: reads fail, writes go on, until a close") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [server, client] = make_iostream_pair({.allow_half_open = true}, transport);
      bool told = false;
      server.set_close_callback([&] { told = true; });
      client.write("abc");
      client.shutdown_write();
      CHECK(why_closed(loop, server.read_bytes(4)) == std::error_code());
      // What came is there still (S1).
      CHECK(result(loop, server.read_bytes(2)) == "ab");
      CHECK(result(loop, server.read_until_close()) == "c");
      CHECK(why_closed(loop, server.read_until("\n")) == std::error_code());
      CHECK_FALSE(server.closed());
      CHECK_FALSE(told);
      server.write("answer");
      CHECK(result(loop, client.read_bytes(6)) == "answer");
      server.close();
      wait_until(loop, [&] { return told; });
      CHECK(result(loop, client.read_until_close()).empty());
    }
  }

  TEST_CASE("IOStreamOptions.allow_half_open: the last handle closes") {
    test::Loop loop;
    auto [server, client] = make_iostream_pair({.allow_half_open = true});
    client.shutdown_write();
    CHECK(result(loop, server.read_until_close()).empty());
    server = IOStream();
    CHECK(result(loop, client.read_until_close()).empty());
    CHECK(client.closed());
  }

  TEST_CASE("IOStreamOptions.allow_half_open: a reset closes all the same") {
    test::Loop loop;
    // With TLS an end in order would come before it.
    const auto [server, client] =
        make_iostream_pair({.allow_half_open = true}, test::Transport::tcp);
    test::reset_on_close(client);
    const auto read = server.read_bytes(1);
    client.close();
    CHECK(why_closed(loop, read) == std::error_code(ECONNRESET, std::system_category()));
    CHECK(server.closed());
  }

  TEST_CASE("IOStream.shutdown_write: of a connection that was reset meanwhile says so (S6)") {
    test::Loop loop;
    auto [accepted, peer] = test::connected_sockets(Transport::tcp);
    const IOStream stream(std::move(accepted));
    const linger at_once{1, 0};
    REQUIRE(::setsockopt(peer.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) ==
            0);
    REQUIRE(::send(peer.native_handle(), "last words", 10, 0) == 10);
    peer = Socket();
    CHECK(why_closed(loop, stream.shutdown_write()) ==
          std::error_code(ECONNRESET, std::system_category()));
    CHECK(result(loop, stream.read_bytes(10)) == "last words");
  }
}
