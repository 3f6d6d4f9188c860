// SPDX-License-Identifier: Apache-2.0
//
// What an IOStream reads: read_bytes, and what all reads have in common. The others are in
// iostream_read_until_test.cpp, iostream_read_into_test.cpp and iostream_regex_test.cpp.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/log.hpp"

#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using namespace tornado;
using test::kb;
using test::make_iostream_pair;
using test::make_narrow_pair;
using test::make_wire_stream;
using test::mb;
using test::result;
using test::some_iterations;
using test::Transport;
using test::wait_until;
using test::watch_close;
using test::why_closed;

namespace {

using Sizes = std::initializer_list<std::size_t>;

}  // namespace

TEST_SUITE("iostream") {
  // ---- read_bytes

  // Python: iostream_test.TestReadWriteMixin.test_read_bytes_partial
  // Python: iostream_test.TestIOStreamMixin.test_read_bytes_partial
  TEST_CASE(
      "IOStream.read_bytes: partial gives what is there, as many as asked for at most (S17)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);

      // Ask for more than is available with partial=True
      auto future = rs.read_bytes(50, Partial::yes);
      ws.write("hello");
      CHECK(result(loop, future) == "hello");

      // Ask for less than what is available; the count is still respected.
      future = rs.read_bytes(3, Partial::yes);
      ws.write("world");
      CHECK(result(loop, future) == "wor");

      // Partial reads do not return an empty string, but read_bytes(0) does.
      CHECK(result(loop, rs.read_bytes(0, Partial::yes)) == "");

      // What was left over is read without waiting.
      const auto rest = rs.read_bytes(10, Partial::yes);
      CHECK(rest.done());
      CHECK(rest.result() == "ld");
    }
  }

  TEST_CASE("IOStream: a partial read gets as much as one chunk, not only the first bytes (S17)") {
    for (const std::size_t size : Sizes{100, 128, 129, 60000}) {
      CAPTURE(size);
      test::Loop loop;
      const auto [stream, wire] = make_wire_stream();
      const std::string sent = test::pattern(size);
      const auto read = stream.read_bytes(100000, Partial::yes);
      loop.iterate();
      wire->feed(sent);
      CHECK((result(loop, read) == sent));

      std::string buffer(100000, '\0');
      const auto read_into = stream.read_into(buffer, Partial::yes);
      loop.iterate();
      wire->ended = true;
      wire->feed(sent);
      CHECK(result(loop, read_into) == size);
      CHECK((buffer.substr(0, size) == sent));
      CHECK(why_closed(loop, stream.read_bytes(1)) == std::error_code());
    }
  }

  TEST_CASE("IOStream.read_bytes: waits for all of them, however they come") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    const auto future = stream.read_bytes(10);
    CHECK(stream.reading());
    loop.iterate(2);
    for (const char* part : {"a", "bcd", "efghi"}) {
      wire->feed(part);
      loop.iterate(2);
      CHECK_FALSE(future.done());
    }
    wire->feed("jklm");
    CHECK(future.done());
    CHECK_FALSE(stream.reading());
    CHECK(future.result() == "abcdefghij");
    CHECK(result(loop, stream.read_bytes(3)) == "klm");
  }

  TEST_CASE("IOStream.read_bytes: sizes around those of the buffers inside") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      for (const std::size_t size : Sizes{1, 127, 128, 129, 255, 256, 257, 4095, 4096, 4097, 65535,
                                          65536, 65537, 65536 + 128, 200000}) {
        CAPTURE(size);
        const std::string sent = test::pattern(size);
        auto future = rs.read_bytes(size);
        loop.iterate();
        ws.write(sent);
        CHECK((result(loop, future) == sent));
        // The same, with the bytes there before they are asked for, and one more behind them.
        ws.write(sent + "!");
        loop.iterate(2);
        CHECK((result(loop, rs.read_bytes(size)) == sent));
        CHECK(result(loop, rs.read_bytes(1)) == "!");
      }
    }
  }

  TEST_CASE("IOStream.read_bytes: zero bytes are read at once, also on a closed stream (S9)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    const auto open = rs.read_bytes(0);
    CHECK(open.done());
    CHECK(open.result() == "");
    rs.close();
    const auto closed = rs.read_bytes(0);
    CHECK(closed.done());
    CHECK(closed.result() == "");
  }

  TEST_CASE("IOStream.read_bytes: many small reads from one large buffer, in linear time (S19)") {
    constexpr std::size_t size = 8 * mb;
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    const std::string sent = test::pattern(size);
    auto too_much = stream.read_bytes(size + 1);
    wire->feed(sent);
    wait_until(loop, [wire] { return wire->waits_to_read() && wire->incoming.empty(); });
    CHECK(too_much.cancel());
    std::string got;
    // Moving the rest down after each of these reads would be half a million times 4 MB.
    while (got.size() < size) got += stream.read_bytes(16).result();
    CHECK((got == sent));
  }

  // Python: iostream_test.TestReadWriteMixin.test_small_reads_from_large_buffer
  // Python: iostream_test.TestIOStreamMixin.test_small_reads_from_large_buffer
  TEST_CASE("IOStream.read_bytes: the buffer is not eagerly filled by small reads") {
    // 10KB buffer size, 100KB available to read.
    // Read 1KB at a time and make sure that the buffer is not eagerly filled.
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair({.max_buffer_size = 10 * kb});
    ws.write(std::string(100 * kb, 'a'));
    const std::string expected(kb, 'a');
    for (int i = 0; i < 100; ++i) CHECK(result(loop, rs.read_bytes(kb)) == expected);
  }

  // ---- max_buffer_size

  TEST_CASE("IOStream: a read that max_buffer_size does not satisfy closes the stream (S13)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair({.max_buffer_size = 1000}, transport);
      bool closed = false;
      watch_close(rs, closed);
      const auto future = rs.read_until("\n");
      ws.write(std::string(3000, 'a'));
      const test::ExpectLog expected(log::gen_log, "Reached maximum read buffer size");
      CHECK_THROWS_AS(result(loop, future), StreamBufferFullError);
      CHECK(rs.closed());
      CHECK(rs.error() == StreamErrc::buffer_full);
      wait_until(loop, [&] { return closed; });
      CHECK(expected.count() == 1);
      CHECK(why_closed(loop, rs.read_until("\n")) == StreamErrc::buffer_full);
    }
  }

  TEST_CASE("IOStream: the error for max_buffer_size says how much came, and what the limit is") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.max_buffer_size = 200});
    const auto future = stream.read_bytes(500);
    loop.iterate();
    const test::ExpectLog expected(log::gen_log, "max_buffer_size is 200");
    wire->feed(std::string(300, 'a'));
    wait_until(loop, [&future] { return future.done(); });
    try {
      future.result();
      FAIL("it did not fail");
    } catch (const StreamBufferFullError& error) {
      const std::string what = error.what();
      CHECK(what.find("max_buffer_size is 200") != what.npos);
      CHECK(what.find("not satisfied by 300 bytes") != what.npos);
    }
  }

  TEST_CASE("IOStream: a chunk is never larger than half of max_buffer_size (S13)") {
    test::Loop loop;
    for (const std::size_t limit : Sizes{1, 10, 100, 1000, 100000, 1000000}) {
      CAPTURE(limit);
      const auto [stream, wire] = make_wire_stream({.max_buffer_size = limit});
      const auto future = stream.read_until("\n");
      wire->feed("\n");
      CHECK(result(loop, future) == "\n");
      const std::size_t half = std::max<std::size_t>(limit / 2, 1);
      CHECK(wire->largest_read <= half);
    }
    const auto [stream, wire] = make_wire_stream({.read_chunk_size = 50});
    wire->feed(std::string(500, 'a'));
    CHECK(result(loop, stream.read_bytes(500)).size() == 500);
    CHECK(wire->largest_read == 50);
  }

  TEST_CASE("IOStream: with no read pending nothing is taken from the socket (S14)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_narrow_pair(transport);
      const std::string sent = test::pattern(mb);
      const auto written = ws.write(sent);
      loop.iterate(some_iterations);
      CHECK_FALSE(written.done());
      CHECK(ws.writing());
      // Each read takes about what it asks for: the rest stays with the other side.
      CHECK((result(loop, rs.read_bytes(kb)) == sent.substr(0, kb)));
      loop.iterate(some_iterations);
      CHECK_FALSE(written.done());
      CHECK((result(loop, rs.read_bytes(mb - kb)) == sent.substr(kb)));
      result(loop, written);
      CHECK_FALSE(ws.writing());
    }
  }

  // Python: iostream_test.TestReadWriteMixin.test_flow_control
  // Python: iostream_test.TestIOStreamMixin.test_flow_control
  TEST_CASE("IOStream: ten megabytes pass through a buffer of five (S14)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair({.max_buffer_size = 5 * mb});
    // Client writes more than the rs will accept.
    const std::string sent = test::pattern(10 * mb);
    ws.write(sent);
    // The rs pauses while reading.
    std::string got = result(loop, rs.read_bytes(mb));
    loop.iterate(some_iterations);  // Python: sleep(0.1)
    // The ws's writes have been blocked; the rs can continue to read gradually.
    for (int i = 0; i < 9; ++i) got += result(loop, rs.read_bytes(mb));
    CHECK((got == sent));
  }

  // ---- one read at a time

  TEST_CASE("IOStream: a second read throws from the call, and the first goes on (S23)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    const auto first = rs.read_until("\n");
    const auto message = [rs](int call) -> std::string {
      std::string buffer(3, '\0');
      try {
        switch (call) {
          case 0:
            static_cast<void>(rs.read_bytes(1));
            break;
          case 1:
            static_cast<void>(rs.read_until("x"));
            break;
          case 2:
            static_cast<void>(rs.read_into(buffer));
            break;
          default:
            static_cast<void>(rs.read_until_close());
        }
      } catch (const std::logic_error& error) {
        return error.what();
      }
      return "nothing was thrown";
    };
    CHECK(message(0) == "IOStream::read_bytes: another read is pending");
    CHECK(message(1) == "IOStream::read_until: another read is pending");
    CHECK(message(2) == "IOStream::read_into: another read is pending");
    CHECK(message(3) == "IOStream::read_until_close: another read is pending");
    CHECK(rs.reading());
    ws.write("the first\n");
    CHECK(result(loop, first) == "the first\n");
  }

  TEST_CASE("IOStream: on a closed stream each read fails through its Future (S23)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    rs.close();
    std::string buffer(3, '\0');
    CHECK(why_closed(loop, rs.read_bytes(1)) == std::error_code());
    CHECK(why_closed(loop, rs.read_bytes(1, Partial::yes)) == std::error_code());
    CHECK(why_closed(loop, rs.read_until("\n")) == std::error_code());
    CHECK(why_closed(loop, rs.read_into(buffer)) == std::error_code());
    // They fail at once, one after the other: none is "pending" then.
    const auto one = rs.read_bytes(1);
    const auto two = rs.read_bytes(1);
    CHECK(one.done());
    CHECK(two.done());
    CHECK_FALSE(rs.reading());
  }

  // ---- cancelling

  TEST_CASE("IOStream: a cancelled read leaves its bytes in the stream (S38)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      const auto future = rs.read_until("\n");
      result(loop, ws.write("hel"));
      loop.iterate(some_iterations);
      CHECK(rs.reading());
      CHECK(future.cancel());
      CHECK(future.cancelled());
      CHECK_FALSE(rs.reading());
      CHECK_FALSE(rs.closed());
      // What comes before the next read is not lost either.
      result(loop, ws.write("lo "));
      loop.iterate(some_iterations);
      const auto line = rs.read_until("\n");
      ws.write("world\n");
      CHECK(result(loop, line) == "hello world\n");
    }
  }

  namespace {

  // In Python: `yield stream.read_until(b"\n")`
  Future<std::string> read_line(IOStream stream, std::string& how_it_ended) {
    try {
      std::string line = co_await stream.read_until("\n");
      how_it_ended = "read";
      co_return line;
    } catch (const CancelledError&) {
      how_it_ended = "cancelled";
      throw;
    }
  }

  }  // namespace

  TEST_CASE("IOStream: cancelling a coroutine cancels the read that it waits for (S38)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    std::string how_it_ended;
    const auto future = read_line(rs, how_it_ended);
    result(loop, ws.write("abc"));
    loop.iterate(some_iterations);
    future.cancel();
    wait_until(loop, [&] { return future.done(); });
    CHECK(future.cancelled());
    CHECK(how_it_ended == "cancelled");
    CHECK_FALSE(rs.reading());
    CHECK(result(loop, rs.read_bytes(3)) == "abc");
  }

  TEST_CASE("IOStream: cancelling what is done already loses nothing (S38)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    std::string how_it_ended;
    const auto future = read_line(stream, how_it_ended);
    loop.iterate();
    loop.add_callback([wire, future] {
      wire->feed("line\n");  // the read is done now, its coroutine not yet resumed
      CHECK(future.cancel());
    });
    CHECK(result(loop, future) == "line\n");
    CHECK(how_it_ended == "read");
  }
}
