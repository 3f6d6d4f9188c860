// SPDX-License-Identifier: Apache-2.0
//
// IOStream::set_close_callback, and the reading ahead for its sake.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/log.hpp"

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

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
using test::watch_close;

TEST_SUITE("iostream") {
  // Python: iostream_test.TestReadWriteMixin.test_future_close_callback
  // Python: iostream_test.TestIOStreamMixin.test_future_close_callback
  TEST_CASE("IOStream.set_close_callback: is called when the other end closes") {
    // Regression test for interaction between the Future read interfaces and
    // IOStream._maybe_add_error_listener.
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      bool closed = false;
      rs.set_close_callback([&closed] { closed = true; });
      ws.write("a");
      CHECK(result(loop, rs.read_bytes(1)) == "a");
      CHECK_FALSE(closed);
      ws.close();
      wait_until(loop, [&] { return closed; });
      CHECK(rs.closed());
    }
  }

  // Python: iostream_test.TestReadWriteMixin.test_close_callback_with_pending_read
  // Python: iostream_test.TestIOStreamMixin.test_close_callback_with_pending_read
  TEST_CASE("IOStream.set_close_callback: is called although a read is pending (S5)") {
    // Regression test for a bug that was introduced in 2.3 where the IOStream._close_callback would
    // never be called if there were pending reads.
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    bool closed = false;
    rs.set_close_callback([&closed] { closed = true; });
    ws.write("OK\r\n");
    CHECK(result(loop, rs.read_until("\r\n")) == "OK\r\n");

    ws.close();
    static_cast<void>(rs.read_until("\r\n"));
    wait_until(loop, [&] { return closed; });
  }

  // Python: iostream_test.TestIOStreamMixin.test_delayed_close_callback
  TEST_CASE("IOStream.set_close_callback: comes after a read that the buffer can serve (S5)") {
    // The scenario: Server closes the connection while there is a pending read that can be served
    // out of buffered data. The client does not run the close_callback as soon as it detects the
    // close, but rather defers it until after the buffered read has finished.
    test::Loop loop;
    const auto [server, client] = make_iostream_pair();
    std::vector<std::string> chunks;
    bool closed = false;
    client.set_close_callback([&] {
      CHECK(chunks.size() == 2);
      closed = true;
    });
    server.write("12");
    client.read_bytes(1).add_done_callback([&, client, server](const Future<std::string>& first) {
      chunks.push_back(first.result());
      client.read_bytes(1).add_done_callback(
          [&](const Future<std::string>& second) { chunks.push_back(second.result()); });
      server.close();
    });
    wait_until(loop, [&] { return closed; });
    CHECK(chunks == std::vector<std::string>{"1", "2"});
  }

  TEST_CASE(
      "IOStream.set_close_callback: once, after the Futures, in an iteration of its own (S5)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    std::vector<std::string> order;
    wire->room = 0;
    stream.set_close_callback([&] { order.push_back("close callback"); });
    // What follows the read in the same iteration comes before the close callback, too.
    const Future<void> follow_up;
    follow_up.add_done_callback([&] { order.push_back("follow-up"); });
    stream.read_bytes(1).add_done_callback([&] {
      order.push_back("read");
      follow_up.set_result();
    });
    stream.write("abc").add_done_callback([&] { order.push_back("write"); });
    loop.iterate(2);
    loop.add_callback([&, stream] {
      stream.close();
      stream.close();
      order.push_back("close returned");
      loop.add_callback([&] { order.push_back("next iteration"); });
    });
    loop.iterate(5);
    stream.close();
    loop.iterate(5);
    CHECK(order == std::vector<std::string>{"close returned", "read", "write", "follow-up",
                                            "close callback", "next iteration"});
  }

  TEST_CASE("IOStream.set_close_callback: on a closed stream it is called soon, not at once (S5)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    rs.close();
    loop.iterate(2);
    int calls = 0;
    rs.set_close_callback([&calls] { ++calls; });
    CHECK(calls == 0);
    loop.iterate(5);
    CHECK(calls == 1);
    rs.set_close_callback([&calls] { ++calls; });
    rs.set_close_callback(nullptr);
    loop.iterate(5);
    CHECK(calls == 2);
  }

  TEST_CASE("IOStream.set_close_callback: another one replaces it, nullptr takes it away") {
    test::Loop loop;
    int first = 0;
    int second = 0;
    int live = 0;
    {
      const auto [rs, ws] = make_iostream_pair();
      rs.set_close_callback([&first, counted = Counted(live)] { ++first; });
      CHECK(live == 1);
      rs.set_close_callback([&second] { ++second; });
      CHECK(live == 0);
      rs.close();
      loop.iterate(3);
      CHECK(first == 0);
      CHECK(second == 1);
    }
    {
      const auto [rs, ws] = make_iostream_pair();
      rs.set_close_callback([&first, counted = Counted(live)] { ++first; });
      rs.set_close_callback(nullptr);
      CHECK(live == 0);
      rs.close();
      loop.iterate(3);
      CHECK(first == 0);
    }
    {
      const auto [rs, ws] = make_iostream_pair();
      rs.set_close_callback([&first, counted = Counted(live)] { ++first; });
      rs.close();
      loop.iterate(3);
      CHECK(first == 1);
      CHECK(live == 0);  // destroyed with the stream still there
    }
  }

  TEST_CASE("IOStream.set_close_callback: may throw, and may be a coroutine") {
    test::Loop loop;
    {
      const auto [rs, ws] = make_iostream_pair();
      rs.set_close_callback([] { throw std::runtime_error("from the close callback"); });
      const test::ExpectLog expected(log::app_log, "from the close callback");
      rs.close();
      loop.iterate(3);
      CHECK(expected.count() == 1);
    }
    {
      const auto [rs, ws] = make_iostream_pair();
      bool finished = false;
      int live = 0;
      rs.set_close_callback([&finished, counted = Counted(live)]() -> Future<void> {
        co_await gen::moment;
        finished = true;
      });
      rs.close();
      wait_until(loop, [&] { return finished; });
      loop.iterate(2);
      CHECK(live == 0);
    }
  }

  // ---- reading ahead

  TEST_CASE("IOStream: an idle stream without a close callback does not notice the end (S15)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      ws.close();
      test::wait_for_events(rs.fileno(), POLLRDHUP);
      loop.iterate(some_iterations);
      CHECK_FALSE(rs.closed());
    }
  }

  TEST_CASE("IOStream: with a close callback it does, once its buffer is empty (S15)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      bool closed = false;
      watch_close(rs, closed);
      ws.write("ab");
      CHECK(result(loop, rs.read_bytes(1)) == "a");
      ws.close();
      test::wait_for_events(rs.fileno(), POLLRDHUP);
      loop.iterate(some_iterations);
      CHECK_FALSE(rs.closed());
      CHECK(result(loop, rs.read_bytes(1)) == "b");
      wait_until(loop, [&] { return closed; });
      CHECK_FALSE(rs.error());
    }
  }

  TEST_CASE(
      "IOStream: while idle with a close callback it reads ahead one chunk at the most (S15)") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream({.read_chunk_size = 1000});
    bool closed = false;
    watch_close(stream, closed);
    const std::string sent = test::pattern(5000);
    loop.iterate();
    CHECK(wire->waits_to_read());
    wire->feed(sent);
    loop.iterate(some_iterations);
    CHECK_FALSE(wire->waits_to_read());
    CHECK(wire->reads <= 1);
    CHECK((result(loop, stream.read_bytes(5000)) == sent));
    wire->end();
    wait_until(loop, [&] { return closed; });
  }

  TEST_CASE("IOStream: the read-ahead does not defeat flow control (S14, S15)") {
    test::Loop loop;
    const auto [rs, ws] = make_narrow_pair();
    bool closed = false;
    watch_close(rs, closed);
    const auto written = ws.write(std::string(mb, 'a'));
    loop.iterate(some_iterations);
    CHECK_FALSE(written.done());
    CHECK(result(loop, rs.read_bytes(mb)).size() == mb);
    ws.close();
    wait_until(loop, [&] { return closed; });
  }
}
