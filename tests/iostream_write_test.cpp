// SPDX-License-Identifier: Apache-2.0
//
// What an IOStream writes.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/log.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace tornado;
using test::make_iostream_pair;
using test::make_narrow_pair;
using test::make_wire_stream;
using test::mb;
using test::result;
using test::some_iterations;
using test::Transport;
using test::wait_until;
using test::why_closed;

TEST_SUITE("iostream") {
  // ---- what is written arrives, and its Future says so

  // Python: iostream_test.TestReadWriteMixin.test_write_memoryview
  // Python: iostream_test.TestIOStreamMixin.test_write_memoryview
  TEST_CASE("IOStream.write: a view of bytes") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      const auto future = rs.read_bytes(4);
      ws.write(std::string_view("hello, world", 5));
      CHECK(result(loop, future) == "hell");
      CHECK(result(loop, rs.read_bytes(1)) == "o");
    }
  }

  // Python: iostream_test.TestReadWriteMixin.test_write_zero_bytes
  // Python: iostream_test.TestIOStreamMixin.test_write_zero_bytes
  TEST_CASE("IOStream.write: zero bytes complete (S9)") {
    // Attempting to write zero bytes should run the callback without going into an infinite loop.
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    result(loop, ws.write(""));
    CHECK_FALSE(ws.writing());
  }

  TEST_CASE("IOStream.write: zero bytes behind others wait for those (S8, S9)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->room = 1;
    const auto first = stream.write("ab");
    const auto nothing = stream.write("");
    loop.iterate(2);
    CHECK_FALSE(nothing.done());
    wire->make_room();
    result(loop, first);
    result(loop, nothing);
    CHECK(wire->written == "ab");
  }

  TEST_CASE("IOStream.write: each Future is done when its own bytes are with the system (S8)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->room = 3;
    const auto first = stream.write("ab");
    const auto second = stream.write("cde");
    const auto third = stream.write("f");
    CHECK_FALSE(first.done());
    CHECK(stream.writing());
    loop.iterate();
    CHECK(wire->written == "abc");
    CHECK(first.done());
    CHECK_FALSE(second.done());
    wire->make_room(1);
    CHECK(wire->written == "abcd");
    CHECK_FALSE(second.done());
    wire->make_room(1);
    CHECK(second.done());
    CHECK_FALSE(third.done());
    CHECK(stream.writing());
    wire->make_room(1);
    CHECK(third.done());
    CHECK_FALSE(stream.writing());
    CHECK(wire->written == "abcdef");
  }

  TEST_CASE("IOStream.write: a Future that only a callback waits for is done with its bytes (S8)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->room = 2;
    bool done = false;
    stream.write("ab").add_done_callback([&done] { done = true; });
    stream.write("c");
    const auto last = stream.write("d");
    loop.iterate(2);
    CHECK(done);
    CHECK_FALSE(last.done());
    wire->make_room();
    result(loop, last);
    CHECK(wire->written == "abcd");
  }

  TEST_CASE("IOStream.write: a write whose Future was cancelled and dropped holds up none (S8)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    stream.write("ab").cancel();
    const auto last = stream.write("c");
    result(loop, last);
    CHECK_FALSE(last.cancelled());
    CHECK(wire->written == "abc");
  }

  namespace {

  // Writes `count` times, waiting for each.
  Future<void> produce(IOStream server, std::size_t size, int count) {
    const std::string data(size, 'x');
    for (int i = 0; i < count; ++i) co_await server.write(data);
  }

  Future<std::size_t> consume(IOStream client, std::size_t size, std::size_t total) {
    std::size_t nread = 0;
    while (nread < total) {
      const std::string data = co_await client.read_bytes(size);
      nread += data.size();
    }
    co_return nread;
  }

  Future<std::size_t> run_producers(IOStream server, IOStream client, std::size_t size, int count,
                                    int producers) {
    const std::size_t total = size * static_cast<std::size_t>(count * producers);
    std::vector<Future<void>> all;
    for (int i = 0; i < producers; ++i) all.push_back(produce(server, size, count));
    const Future<std::size_t> consumed = consume(client, size, total);
    co_await gen::multi(std::move(all));
    co_return co_await consumed;
  }

  }  // namespace

  // Python: iostream_test.TestIOStreamMixin.test_future_write
  TEST_CASE("IOStream.write: the Futures of concurrent writers are never orphaned (S8)") {
    // Run concurrent writers that will write enough bytes so as to clog the socket buffer and
    // accumulate bytes in our write buffer.
    constexpr std::size_t m = 5000;
    constexpr int n = 1000;
    constexpr int producers = 10;
    constexpr std::size_t total_bytes = m * n * producers;
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [server, client] = make_iostream_pair({.max_buffer_size = total_bytes}, transport);
      CHECK(result(loop, run_producers(server, client, m, n, producers)) == total_bytes);
    }
  }

  TEST_CASE(
      "IOStream.write: its argument may be changed, or go, when the call has returned (S21)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_narrow_pair(transport);
      std::string expected;
      {
        std::string data = test::pattern(mb);
        expected = data;
        ws.write(data);
        std::fill(data.begin(), data.end(), '#');
        for (int i = 0; i < 100; ++i) {
          data = "line " + std::to_string(i) + "\n";
          expected += data;
          ws.write(data);
        }
        auto gone = std::make_unique<std::string>("a view");
        expected += *gone;
        ws.write(std::string_view(*gone));
      }
      CHECK((result(loop, rs.read_bytes(expected.size())) == expected));
    }
  }

  TEST_CASE("IOStream.write: an rvalue string is taken over, not copied (S20)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    std::string data(mb, 'a');
    const char* const bytes = data.data();
    result(loop, stream.write(std::move(data)));
    CHECK(wire->last_chunk == bytes);
    std::string copied(mb, 'b');
    result(loop, stream.write(copied));
    CHECK(wire->last_chunk != copied.data());
    CHECK(copied.size() == mb);
  }

  TEST_CASE("IOStream.write: megabytes (S20)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      const std::string sent = test::pattern(20 * mb);
      std::string copy = sent;
      const auto written = ws.write(std::move(copy));
      std::string got;
      while (got.size() < sent.size()) got += result(loop, rs.read_bytes(mb, Partial::yes));
      CHECK((got == sent));
      result(loop, written);
    }
  }

  TEST_CASE("IOStream.write: what is sent bit by bit is not moved about (S20)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    // Moving down the rest of it after each send would be 4096 times 16 MB,
    wire->most_per_send = 8192;
    result(loop, stream.write(std::string(32 * mb, 'a')));
    CHECK(wire->written.size() == 32 * mb);
    // and of the list of these 40,000 times 3.2 MB.
    wire->most_per_send = 30;
    std::vector<Future<void>> writes;
    for (int i = 0; i < 400000; ++i) writes.push_back(stream.write("abc"));
    result(loop, writes.back());
    CHECK(
        std::all_of(writes.begin(), writes.end(), [](const auto& write) { return write.done(); }));
  }

  // ---- when it is sent

  TEST_CASE("IOStream.write: what is written in one turn leaves in one send") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    std::string expected;
    std::vector<Future<void>> writes;
    loop.add_callback([&, stream] {
      for (int i = 0; i < 100; ++i) {
        const std::string piece = std::to_string(i) + ",";
        expected += piece;
        writes.push_back(stream.write(piece));
      }
      CHECK(stream.writing());
    });
    wait_until(loop, [&] { return !writes.empty() && writes.back().done(); });
    CHECK(wire->written == expected);
    CHECK(wire->sends.size() == 1);
    for (const auto& write : writes) CHECK(write.done());

    // The same from outside of the loop.
    stream.write("a");
    stream.write("b");
    result(loop, stream.write("c"));
    CHECK(wire->sends.size() == 2);
    CHECK(wire->written == expected + "abc");
  }

  namespace {

  Future<void> copy_lines(IOStream from, IOStream to, int count) {
    for (int i = 0; i < count; ++i) {
      const std::string line = co_await from.read_until("\n");
      to.write(line);
    }
  }

  }  // namespace

  TEST_CASE("IOStream.write: so does what coroutines write that were resumed one after the other") {
    test::Loop loop;
    const auto [in, in_wire] = make_wire_stream();
    const auto [out, out_wire] = make_wire_stream();
    const auto copying = copy_lines(in, out, 3);
    loop.iterate();
    in_wire->feed("1\n2\n3\n");
    result(loop, copying);
    loop.iterate();
    CHECK(out_wire->written == "1\n2\n3\n");
    CHECK(out_wire->sends.size() == 1);
  }

  TEST_CASE("IOStream.write: large and small pieces leave together, in order") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    std::string expected;
    for (int i = 0; i < 5; ++i) {
      const std::string large = test::pattern(50000);
      expected += large + "small";
      stream.write(std::string(large));
      stream.write("small");
    }
    stream.write("");
    const auto last = stream.write("end");
    result(loop, last);
    CHECK((wire->written == expected + "end"));
    CHECK(wire->sends.size() == 1);
  }

  TEST_CASE("IOStream.flush: sends now") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    loop.run([stream, wire] {
      const auto first = stream.write("one");
      stream.write("two");
      CHECK(wire->written.empty());
      stream.flush();
      CHECK(wire->written == "onetwo");
      CHECK(first.done());
      stream.write("three");
      CHECK(wire->written == "onetwo");
      stream.flush();
      stream.flush();
    });
    CHECK(wire->written == "onetwothree");
    CHECK(wire->sends.size() == 2);
  }

  // ---- limits

  TEST_CASE("IOStream.write: beyond max_write_buffer_size it fails, and the stream stays (S12)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.max_write_buffer_size = 10});
    wire->room = 2;
    const auto first = stream.write("12345678");
    const auto too_much = stream.write("abc");
    CHECK(too_much.done());
    CHECK_THROWS_WITH_AS(too_much.result(),
                         "Reached maximum write buffer size: 8 bytes wait, 3 more exceed "
                         "max_write_buffer_size, 10",
                         StreamBufferFullError);
    const auto fits = stream.write("xy");
    CHECK_FALSE(fits.done());
    loop.iterate();
    // Two have left: there is room for two again.
    CHECK_THROWS_AS(stream.write("uvw").result(), StreamBufferFullError);
    const auto last = stream.write("zz");
    CHECK_FALSE(stream.closed());
    wire->make_room();
    result(loop, last);
    CHECK(first.done());
    CHECK(fits.done());
    CHECK(wire->written == "12345678xyzz");
    CHECK_THROWS_AS(stream.write(std::string(11, 'a')).result(), StreamBufferFullError);
    result(loop, stream.write(std::string(10, 'a')));
  }

  TEST_CASE("IOStream.write: a StreamBufferFullError that nobody looks at is logged") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.max_write_buffer_size = 1});
    const test::ExpectLog expected(log::app_log, "Reached maximum write buffer size");
    stream.write("abc");
    CHECK(expected.count() == 1);
  }

  // ---- closed streams

  TEST_CASE("IOStream.write: on a closed stream it fails at once (S10)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    ws.close(std::make_error_code(std::errc::timed_out));
    const auto future = ws.write("abc");
    CHECK(future.done());
    CHECK(why_closed(loop, future) == std::errc::timed_out);
    CHECK(why_closed(loop, ws.write("")) == std::errc::timed_out);
    ws.write("nobody looks at this Future");
    CHECK_FALSE(ws.writing());
  }

  TEST_CASE("IOStream.close: writes that have not left all fail (S3, S10)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_narrow_pair(transport);
      std::vector<Future<void>> writes;
      for (int i = 0; i < 5; ++i) writes.push_back(ws.write(std::string(mb, 'a')));
      loop.iterate(some_iterations);
      ws.close(std::make_error_code(std::errc::timed_out));
      CHECK_FALSE(ws.writing());
      for (const auto& write : writes) CHECK(why_closed(loop, write) == std::errc::timed_out);
    }
  }

  TEST_CASE("IOStream.close: what was written is offered to the system before") {
    for (const bool with_error : {false, true}) {
      CAPTURE(with_error);
      const auto error =
          with_error ? std::make_error_code(std::errc::timed_out) : std::error_code();
      test::Loop loop;
      {
        const auto [stream, wire] = make_wire_stream();
        const auto future = stream.write("goodbye");
        stream.close(error);
        CHECK(wire->written == "goodbye");
        CHECK(wire->closes == 1);
        CHECK(future.done());
        CHECK_NOTHROW(future.result());
      }
      {
        const auto [stream, wire] = make_wire_stream();
        wire->room = 4;
        const auto first = stream.write("good");
        const auto second = stream.write("bye");
        stream.close(error);
        CHECK(wire->written == "good");
        CHECK_NOTHROW(first.result());
        CHECK(why_closed(loop, second) == error);
      }
    }
  }

  TEST_CASE("IOStream: what was written leaves also when a limit closes the stream") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    const auto line = stream.read_until("\n", 3);
    loop.iterate();
    loop.add_callback([stream, wire] {
      stream.write("your line is too long\n");
      wire->feed("abcdef");
    });
    CHECK(why_closed(loop, line) == StreamErrc::unsatisfiable_read);
    CHECK(wire->written == "your line is too long\n");
  }

  // ---- cancelling

  TEST_CASE("IOStream.write: cancelling takes back the waiting, not the bytes") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->room = 1;
    const auto first = stream.write("abc");
    const auto second = stream.write("def");
    loop.iterate();
    CHECK(first.cancel());
    CHECK(first.cancelled());
    CHECK_FALSE(stream.closed());
    wire->make_room();
    result(loop, second);
    CHECK(wire->written == "abcdef");
    CHECK(first.cancelled());

    wire->room = 0;
    const auto third = stream.write("ghi");
    loop.iterate();
    third.cancel();
    stream.close();
    CHECK(third.cancelled());
  }

  // ---- pipes full in both directions

  TEST_CASE("IOStream: both sides write more than the system takes, and then read") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [a, b] = make_narrow_pair(transport);
      const std::string sent = test::pattern(3 * mb);
      const auto a_written = a.write(sent);
      const auto b_written = b.write(sent);
      loop.iterate(some_iterations);
      CHECK_FALSE(a_written.done());
      CHECK_FALSE(b_written.done());
      const auto a_read = a.read_bytes(sent.size());
      const auto b_read = b.read_bytes(sent.size());
      CHECK((result(loop, a_read) == sent));
      CHECK((result(loop, b_read) == sent));
      result(loop, a_written);
      result(loop, b_written);
    }
  }

  TEST_CASE("IOStream.write: what was sent before an error is not said to have failed (S8)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->write_error = std::make_error_code(std::errc::connection_reset);
    wire->sends_before_error = 1;
    std::vector<Future<void>> written;
    for (int i = 0; i < 40; ++i) written.push_back(stream.write(std::string(4096, 'a')));
    stream.flush();
    CHECK(stream.closed());
    const std::size_t sent = wire->written.size() / 4096;
    CHECK(sent > 0);
    CHECK(sent < written.size());
    for (std::size_t i = 0; i < written.size(); ++i) {
      CAPTURE(i);
      if (i < sent) {
        result(loop, written[i]);
      } else {
        CHECK(why_closed(loop, written[i]) == std::errc::connection_reset);
      }
    }
  }
}
