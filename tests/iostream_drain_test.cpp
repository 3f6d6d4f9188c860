// SPDX-License-Identifier: Apache-2.0
//
// Writing no faster than the other end reads: IOStream::drain and buffered writes.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <string>
#include <system_error>
#include <utility>

using namespace tornado;
using test::make_narrow_pair;
using test::make_wire_stream;
using test::mb;
using test::result;
using test::Transport;
using test::why_closed;

TEST_SUITE("iostream") {
  TEST_CASE("IOStream.drain: done at once while no more than the watermark waits to be sent") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.write_watermark = 100});
    wire->room = 0;
    CHECK(stream.drain().done());
    stream.write(std::string(100, 'x'));
    CHECK(stream.drain().done());
    stream.write("y");
    const auto drained = stream.drain();
    CHECK_FALSE(drained.done());
    // It is not what was sent that counts, but what waits: a quarter is left.
    wire->make_room(75);
    loop.iterate(5);
    CHECK_FALSE(drained.done());
    wire->make_room(1);
    loop.iterate(5);
    CHECK(drained.done());
    CHECK(wire->written.size() == 76);
    wire->make_room();
  }

  TEST_CASE("IOStream.drain: with a watermark of 0 all has to be sent") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.write_watermark = 0});
    CHECK(stream.drain().done());
    stream.write("x");
    const auto drained = stream.drain();
    CHECK_FALSE(drained.done());
    result(loop, drained);
    CHECK(wire->written == "x");
  }

  TEST_CASE("IOStream.drain: fails when the stream is closed, and can be cancelled") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.write_watermark = 0});
    wire->room = 0;
    stream.write("x");
    const auto cancelled = stream.drain();
    const auto drained = stream.drain();
    cancelled.cancel();
    CHECK(cancelled.cancelled());
    CHECK_FALSE(drained.done());
    stream.close(std::make_error_code(std::errc::timed_out));
    CHECK(why_closed(loop, drained) == std::errc::timed_out);
    CHECK(why_closed(loop, stream.drain()) == std::errc::timed_out);
  }

  TEST_CASE("IOStream.drain: is cancelled quietly when the loop closes") {
    Future<void> drained;
    {
      test::Loop loop;
      const auto [stream, wire] = make_wire_stream({.write_watermark = 0});
      wire->room = 0;
      stream.write("x");
      drained = stream.drain();
    }
    CHECK(drained.cancelled());
  }

  TEST_CASE("IOStream.drain: a slow reader does not make memory grow") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [reader, writer] =
          make_narrow_pair(transport, {.max_write_buffer_size = 2 * 65536});
      const std::string row = test::pattern(1000);
      constexpr std::size_t rows = 5000;
      auto write_all = [](IOStream to, std::string text) -> Future<void> {
        for (std::size_t i = 0; i < rows; ++i) {
          const auto written = to.write(text);
          // More than max_write_buffer_size would fail it here and now.
          if (written.done()) written.result();
          co_await to.drain();
        }
        co_await to.write("");
      };
      auto check_all = [](IOStream from, std::string text) -> Future<std::size_t> {
        std::size_t right = 0;
        for (std::size_t i = 0; i < rows; ++i) {
          const std::string got = co_await from.read_bytes(text.size());
          if (got == text) ++right;
        }
        co_return right;
      };
      const auto written = write_all(writer, row);
      CHECK(result(loop, check_all(reader, row)) == rows);
      result(loop, written);
    }
  }

  TEST_CASE("IOStreamOptions.buffered_writes: a write is done while few bytes wait") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.write_watermark = 100, .buffered_writes = true});
    wire->room = 0;
    CHECK(stream.write(std::string(60, 'a')).done());
    CHECK(stream.write(std::string(40, 'b')).done());
    const auto above = stream.write("c");
    CHECK_FALSE(above.done());
    loop.iterate(3);
    CHECK_FALSE(above.done());
    wire->make_room();
    result(loop, above);
    CHECK(wire->written == std::string(60, 'a') + std::string(40, 'b') + "c");
  }

  TEST_CASE("IOStreamOptions.buffered_writes: answers to many lines leave in one call") {
    for (const bool buffered : {false, true}) {
      CAPTURE(buffered);
      test::Loop loop;
      const auto [stream, wire] = make_wire_stream({.buffered_writes = buffered});
      auto answer = [](IOStream lines) -> Future<int> {
        int count = 0;
        for (; count < 16; ++count) {
          const std::string line = co_await lines.read_until("\n");
          co_await lines.write(line);
        }
        co_return count;
      };
      const auto answered = answer(stream);
      std::string sent;
      for (int i = 0; i < 16; ++i) sent += "line " + std::to_string(i) + "\n";
      wire->feed(sent);
      CHECK(result(loop, answered) == 16);
      loop.iterate();
      CHECK(wire->written == sent);
      CHECK(wire->sends.size() == (buffered ? 1 : 16));
    }
  }

  TEST_CASE("IOStreamOptions.buffered_writes: what was written still leaves at the close") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.buffered_writes = true});
    CHECK(stream.write("bye").done());
    stream.close();
    CHECK(wire->written == "bye");
    CHECK(why_closed(loop, stream.write("more")) == std::error_code());
  }

  TEST_CASE("IOStream.bytes_read, bytes_written: count what has passed") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [a, b] = test::make_iostream_pair(transport);
      CHECK(a.bytes_read() == 0);
      CHECK(b.bytes_written() == 0);
      b.write(test::pattern(3 * mb));
      std::string into(mb, '\0');
      result(loop, a.read_bytes(10));
      result(loop, a.read_into(into));
      result(loop, a.read_until(std::string(1, test::pattern(3 * mb).back())));
      result(loop, a.read_bytes(mb));
      CHECK(a.bytes_read() >= 2 * mb + 11);
      CHECK(a.bytes_read() <= b.bytes_written());
      b.close();
      result(loop, a.read_until_close());
      CHECK(a.bytes_read() == b.bytes_written());
    }
  }
}
