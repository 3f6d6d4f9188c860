// SPDX-License-Identifier: Apache-2.0
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <algorithm>
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
using test::outcome;
using test::result;
using test::Transport;
using test::wait_until;
using test::why_closed;

TEST_SUITE("iostream") {
  TEST_CASE("pump: a proxy of two, each end of which ends in its own time") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [inner, client] = make_narrow_pair(transport);
      const auto [server, outer] = make_narrow_pair(transport);
      const auto there = pump(inner, outer);
      const auto back = pump(outer, inner);

      const std::string question = test::pattern(mb);
      client.write(question);
      client.shutdown_write();
      const auto got = server.read_bytes(question.size());
      CHECK(result(loop, got) == question);
      CHECK(result(loop, there) == question.size());
      CHECK_FALSE(back.done());
      // The client has ended; what it asked for reaches it.
      const std::string answer = test::pattern(2 * mb);
      server.write(answer);
      server.shutdown_write();
      CHECK(result(loop, client.read_until_close()) == answer);
      CHECK(result(loop, back) == answer.size());
      wait_until(loop, [&] { return inner.closed() && outer.closed(); });
      CHECK(inner.error() == std::error_code());
      CHECK(outer.error() == std::error_code());
    }
  }

  TEST_CASE("pump: reads no more while the reader is slow") {
    test::Loop loop;
    const auto [source, source_wire] = make_wire_stream();
    const auto [sink, sink_wire] = make_wire_stream({.write_watermark = 10'000});
    const std::string bytes = test::pattern(mb);
    source_wire->incoming = bytes;
    sink_wire->room = 0;
    const auto copied = pump(source, sink, {.chunk_size = 1000, .shutdown_write = false});
    loop.iterate(50);
    // What a reading takes from the system at a time, and not all.
    CHECK(source_wire->incoming.size() > 0);
    CHECK(sink_wire->written.empty());
    sink_wire->make_room();
    wait_until(loop, [&] { return sink_wire->written.size() == bytes.size(); });
    CHECK(sink_wire->written == bytes);
    source_wire->end();
    CHECK(result(loop, copied) == mb);
  }

  TEST_CASE("pump: stops after max_bytes and leaves the rest") {
    test::Loop loop;
    const auto [inner, client] = make_iostream_pair();
    const auto [server, outer] = make_iostream_pair();
    client.write("0123456789");
    CHECK(result(loop, pump(inner, outer, {.max_bytes = 4})) == 4);
    CHECK(result(loop, server.read_bytes(4)) == "0123");
    CHECK(result(loop, pump(inner, outer, {.max_bytes = 0})) == 0);
    CHECK(result(loop, inner.read_bytes(6)) == "456789");
    outer.write("still open");
    CHECK(result(loop, server.read_bytes(10)) == "still open");
  }

  TEST_CASE("pump: without shutdown_write the other stays open") {
    test::Loop loop;
    const auto [inner, client] = make_iostream_pair();
    const auto [server, outer] = make_iostream_pair();
    client.write("first");
    client.close();
    CHECK(result(loop, pump(inner, outer, {.shutdown_write = false})) == 5);
    outer.write(" second");
    CHECK(result(loop, server.read_bytes(12)) == "first second");
  }

  TEST_CASE("pump: fails when the source is reset, and the sink is not told an end") {
    test::Loop loop;
    const auto [inner, client] = make_iostream_pair();
    const auto [server, outer] = make_iostream_pair();
    const auto copied = pump(inner, outer);
    client.write("half of it");
    CHECK(result(loop, server.read_bytes(10)) == "half of it");
    test::reset_on_close(client);
    client.close();
    CHECK(why_closed(loop, copied) == std::error_code(ECONNRESET, std::system_category()));
    CHECK_FALSE(outer.closed());
    outer.write("!");
    CHECK(result(loop, server.read_bytes(1)) == "!");
  }

  TEST_CASE("pump: fails when the source is closed here, which is no end of what it sends") {
    test::Loop loop;
    const auto [inner, client] = make_iostream_pair();
    const auto [server, outer] = make_iostream_pair();
    const auto copied = pump(inner, outer);
    inner.close();
    CHECK(why_closed(loop, copied) == std::error_code());
    CHECK_FALSE(outer.closed());
  }

  TEST_CASE("pump: fails when the sink is closed") {
    test::Loop loop;
    const auto [inner, client] = make_iostream_pair();
    const auto [server, outer] = make_iostream_pair();
    const auto copied = pump(inner, outer);
    outer.close();
    client.write("x");
    CHECK(why_closed(loop, copied) == std::error_code());
    CHECK_FALSE(inner.closed());
  }

  TEST_CASE("pump: bytes that do not fit into max_write_buffer_size are not lost unseen") {
    test::Loop loop;
    const auto [source, source_wire] = make_wire_stream();
    const auto [sink, sink_wire] = make_wire_stream({.max_write_buffer_size = 10});
    source_wire->incoming = std::string(11, 'x');
    const auto copied = pump(source, sink);
    loop.iterate(5);
    CHECK(outcome(copied).find("max_write_buffer_size") != std::string::npos);
  }

  TEST_CASE("pump: cancelled, it leaves what has not been copied") {
    test::Loop loop;
    const auto [inner, client] = make_iostream_pair();
    const auto [server, outer] = make_iostream_pair();
    const auto copied = pump(inner, outer);
    loop.iterate(2);
    copied.cancel();
    wait_until(loop, [&] { return copied.done(); });
    CHECK(copied.cancelled());
    client.write("for others");
    CHECK(result(loop, inner.read_bytes(10)) == "for others");
  }

  TEST_CASE("pump: a chunk_size of 0 is refused") {
    test::Loop loop;
    const auto [a, b] = make_iostream_pair();
    CHECK_THROWS_AS(pump(a, b, {.chunk_size = 0}), std::invalid_argument);
  }
}
