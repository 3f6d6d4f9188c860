// SPDX-License-Identifier: Apache-2.0
//
// IOStream::read_into.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"

#include <cstddef>
#include <random>
#include <string>
#include <system_error>
#include <utility>

using namespace tornado;
using test::make_iostream_pair;
using test::make_wire_stream;
using test::mb;
using test::result;
using test::some_iterations;
using test::Transport;
using test::why_closed;

TEST_SUITE("iostream") {
  // Python: iostream_test.TestReadWriteMixin.test_read_into
  TEST_CASE("IOStream.read_into: fills the buffer, the surplus is for the next read (S18)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      std::string buf(10, '\0');
      auto future = rs.read_into(buf);
      ws.write("hello");
      loop.iterate(some_iterations);
      CHECK(rs.reading());
      ws.write("world!!");
      CHECK(result(loop, future) == 10);
      CHECK_FALSE(rs.reading());
      CHECK(buf == "helloworld");

      // Existing buffer is fed into user buffer
      future = rs.read_into(buf);
      loop.iterate(some_iterations);
      CHECK(rs.reading());
      ws.write("1234567890");
      CHECK(result(loop, future) == 10);
      CHECK_FALSE(rs.reading());
      CHECK(buf == "!!12345678");

      // Existing buffer can satisfy read immediately
      std::string small(4, '\0');
      ws.write("abcdefghi");
      CHECK(result(loop, rs.read_into(small)) == 4);
      CHECK(small == "90ab");

      CHECK(result(loop, rs.read_bytes(7)) == "cdefghi");
    }
  }

  // Python: iostream_test.TestReadWriteMixin.test_read_into_partial
  TEST_CASE("IOStream.read_into: partial (S18)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    // Partial read
    std::string buf(10, '\0');
    const auto future = rs.read_into(buf, Partial::yes);
    ws.write("hello");
    CHECK(result(loop, future) == 5);
    CHECK_FALSE(rs.reading());
    CHECK(buf == std::string("hello\0\0\0\0\0", 10));

    // Full read despite partial=True
    ws.write("world!1234567890");
    CHECK(result(loop, rs.read_into(buf, Partial::yes)) == 10);
    CHECK(buf == "world!1234");

    // Existing buffer can satisfy read immediately
    CHECK(result(loop, rs.read_into(buf, Partial::yes)) == 6);
    CHECK(buf == "5678901234");
  }

  // Python: iostream_test.TestReadWriteMixin.test_read_into_zero_bytes
  TEST_CASE("IOStream.read_into: zero bytes are read at once (S9, S18)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    std::string buf;
    const auto future = rs.read_into(buf);
    CHECK(future.result() == 0);
    CHECK(rs.read_into(buf, Partial::yes).result() == 0);
  }

  TEST_CASE(
      "IOStream.read_into: large buffers are filled directly, and surplus is in order (S18)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      const std::string sent = test::pattern(3 * mb);
      ws.write(sent);
      std::string buf(2 * mb, '\0');
      CHECK(result(loop, rs.read_into(buf)) == buf.size());
      CHECK((buf == sent.substr(0, buf.size())));
      CHECK((result(loop, rs.read_bytes(mb)) == sent.substr(buf.size())));
    }
  }

  TEST_CASE("IOStream.read_into: a read that fails leaves its bytes to the next") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->feed("ab");
    CHECK(result(loop, stream.read_bytes(1)) == "a");
    std::string buf(10, '\0');
    const auto future = stream.read_into(buf);
    wire->feed("cde");
    loop.iterate(2);
    wire->end();
    CHECK(why_closed(loop, future) == std::error_code());
    CHECK(result(loop, stream.read_bytes(2)) == "bc");
    CHECK(result(loop, stream.read_into(buf, Partial::yes)) == 2);
    CHECK(buf.substr(0, 2) == "de");
    CHECK(why_closed(loop, stream.read_into(buf, Partial::yes)) == std::error_code());
  }

  namespace {

  Future<std::string> produce(IOStream ws, std::size_t nbytes) {
    std::mt19937 random(42);
    std::string all;
    while (all.size() < nbytes) {
      const std::size_t size = 1 + random() % std::min<std::size_t>(1000, nbytes - all.size());
      std::string data(size, '\0');
      for (char& byte : data) byte = static_cast<char>(random());
      all += data;
      co_await ws.write(data);
    }
    co_return all;
  }

  Future<std::string> consume(IOStream rs, std::size_t nbytes) {
    std::mt19937 random(43);
    std::string all;
    while (all.size() < nbytes) {
      const std::size_t size = 1 + random() % std::min<std::size_t>(1000, nbytes - all.size());
      if (random() % 2 == 0) {
        all += co_await rs.read_bytes(size);
      } else {
        std::string buf(size, '\0');
        const std::size_t count = co_await rs.read_into(buf);
        CHECK(count == size);
        all += buf;
      }
    }
    co_return all;
  }

  }  // namespace

  // Python: iostream_test.TestReadWriteMixin.test_many_mixed_reads
  TEST_CASE("IOStream: read_bytes and read_into in turns") {
    // Stress buffer handling when going back and forth between read_bytes() (using an internal
    // buffer) and read_into() (using a user-allocated buffer).
    constexpr std::size_t nbytes = 1000000;
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      const auto [produced, consumed] =
          result(loop, gen::multi(produce(ws, nbytes), consume(rs, nbytes)));
      CHECK(produced.size() == nbytes);
      CHECK((produced == consumed));
    }
  }

  TEST_CASE("IOStream.read_into: cancelled, it gives back what is in the caller's buffer (S38)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    std::string buffer(300, '\0');
    const std::string sent = test::pattern(400);
    const auto future = stream.read_into(buffer);
    loop.iterate();
    wire->feed(sent.substr(0, 100));
    loop.iterate(3);
    wire->feed(sent.substr(100, 150));
    loop.iterate(3);
    CHECK_FALSE(future.done());
    CHECK(future.cancel());
    // The buffer is the caller's again.
    const std::string untouched(300, '#');
    buffer = untouched;
    wire->feed(sent.substr(250));
    loop.iterate(3);
    CHECK((buffer == untouched));
    CHECK((result(loop, stream.read_bytes(400)) == sent));
  }

  TEST_CASE("IOStream.read_into: cancelled on a socket, and read again (S38)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      const std::string sent = test::pattern(100000);
      std::size_t fed = 0;
      std::string got;
      std::mt19937 random(1);
      while (got.size() < sent.size()) {
        std::string buffer(1 + random() % 3000, '\0');
        const auto future = rs.read_into(buffer);
        const std::size_t size = std::min<std::size_t>(random() % 2000, sent.size() - fed);
        ws.write(sent.substr(fed, size));
        fed += size;
        loop.iterate(static_cast<int>(random() % 4));
        if (future.done()) {
          got += buffer;
        } else if (fed == sent.size()) {
          CHECK(future.cancel());
          got += result(loop, rs.read_bytes(buffer.size(), Partial::yes));
        } else {
          CHECK(future.cancel());
        }
      }
      CHECK((got == sent));
    }
  }
}
