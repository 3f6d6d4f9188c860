// SPDX-License-Identifier: Apache-2.0
//
// How an IOStream ends: closed from this side or the other, and by errors. How the program learns
// of it is in iostream_close_callback_test.cpp.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using test::make_iostream_pair;
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
  // ---- close

  // Python: iostream_test.TestReadWriteMixin.test_future_delayed_close_callback
  // Python: iostream_test.TestIOStreamMixin.test_future_delayed_close_callback
  TEST_CASE("IOStream: reads go on after the other end closed, from the buffer (S1)") {
    // Same as test_delayed_close_callback, but with the future interface.
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    ws.write("12");
    std::vector<std::string> chunks;
    chunks.push_back(result(loop, rs.read_bytes(1)));
    ws.close();
    chunks.push_back(result(loop, rs.read_bytes(1)));
    CHECK(chunks == std::vector<std::string>{"1", "2"});
  }

  TEST_CASE("IOStream.close: the first error is the one that counts") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    CHECK_FALSE(rs.closed());
    CHECK_FALSE(rs.error());
    rs.close(std::make_error_code(std::errc::timed_out));
    rs.close(std::make_error_code(std::errc::connection_reset));
    rs.close();
    CHECK(rs.closed());
    CHECK(rs.error() == std::errc::timed_out);
    CHECK(why_closed(loop, rs.read_bytes(1)) == std::errc::timed_out);
  }

  TEST_CASE("IOStream.close: an exception that is being handled is none of its business (S7)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    try {
      throw std::system_error(std::make_error_code(std::errc::io_error));
    } catch (const std::system_error&) {
      rs.close();
    }
    CHECK_FALSE(rs.error());
    CHECK(why_closed(loop, rs.read_bytes(1)) == std::error_code());
  }

  TEST_CASE("IOStream: closed, or dropped, inside its own callbacks") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      int calls = 0;
      {
        // By the callback of its read, which holds the last handle.
        auto [rs, ws] = make_iostream_pair(transport);
        rs.set_close_callback([&calls] { ++calls; });
        auto future = rs.read_bytes(1);
        auto last = std::make_shared<IOStream>(std::exchange(rs, IOStream()));
        future.add_done_callback([last = std::move(last)]() mutable {
          last->close();
          last.reset();
        });
        ws.write("ab");
        wait_until(loop, [&] { return calls == 1; });
      }
      {
        // The last handle goes in the close callback, which belongs to the stream.
        auto [rs, ws] = make_iostream_pair(transport);
        auto last = std::make_shared<IOStream>(std::exchange(rs, IOStream()));
        const IOStream& stream = *last;
        stream.set_close_callback([&calls, last = std::move(last)]() mutable {
          ++calls;
          last->close();
          last->write("too late");
          last->set_close_callback([&calls] { ++calls; });
          last.reset();
        });
        ws.close();
        wait_until(loop, [&] { return calls == 3; });
      }
      {
        // The close callback holds the last handle, and is replaced.
        auto [rs, ws] = make_iostream_pair(transport);
        auto last = std::make_shared<IOStream>(std::exchange(rs, IOStream()));
        const IOStream* stream = last.get();
        stream->set_close_callback([last = std::move(last)] {});
        stream->set_close_callback(nullptr);
        CHECK(result(loop, ws.read_until_close()) == "");
      }
      {
        // By the callback of a write.
        auto [rs, ws] = make_iostream_pair(transport);
        auto future = ws.write("abc");
        future.add_done_callback([last = std::exchange(ws, IOStream())] { last.close(); });
        CHECK(result(loop, rs.read_until_close()) == "abc");
      }
    }
  }

  namespace {

  Future<void> close_after_a_line(IOStream stream, bool& ended) {
    const std::string line = co_await stream.read_until("\n");
    CHECK(line == "a line\n");
    stream.close();
    CHECK_THROWS_AS(stream.read_bytes(100).result(), StreamClosedError);
    const std::string rest = co_await stream.read_bytes(3);
    CHECK(rest == "and");
    ended = true;
  }

  }  // namespace

  TEST_CASE("IOStream: closed by the coroutine that reads it") {
    test::Loop loop;
    auto [rs, ws] = make_iostream_pair();
    bool ended = false;
    const auto future = close_after_a_line(std::exchange(rs, IOStream()), ended);
    ws.write("a line\nand more");
    result(loop, future);
    CHECK(ended);
  }

  // ---- the other end closes

  TEST_CASE("IOStream: after the end, reads succeed as far as the bytes go (S1)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      ws.write("abc\ndef");
      ws.close();
      CHECK(result(loop, rs.read_until("\n")) == "abc\n");
      CHECK(why_closed(loop, rs.read_until("\n")) == std::error_code());
      CHECK(rs.closed());
      CHECK(result(loop, rs.read_bytes(2)) == "de");
      CHECK(why_closed(loop, rs.read_bytes(2)) == std::error_code());
      CHECK(result(loop, rs.read_bytes(1)) == "f");
      CHECK(why_closed(loop, rs.read_bytes(1)) == std::error_code());
    }
  }

  TEST_CASE("IOStream: the bytes and the end in one: what they can satisfy succeeds (S1)") {
    test::Loop loop;
    for (const std::size_t size : Sizes{3, 127, 128, 129, 70000}) {
      CAPTURE(size);
      const auto [stream, wire] = make_wire_stream();
      const auto future = stream.read_bytes(size);
      loop.iterate();
      wire->ended = true;
      wire->feed(std::string(size, 'a'));
      CHECK(result(loop, future).size() == size);
      CHECK(why_closed(loop, stream.read_bytes(1)) == std::error_code());
      CHECK(wire->closes == 1);
    }
  }

  // Python: iostream_test.TestReadWriteMixin.test_close_buffered_data
  // Python: iostream_test.TestIOStreamMixin.test_close_buffered_data
  TEST_CASE("IOStream: the end is behind what the system has buffered (S1)") {
    // This depends on the read_chunk_size being smaller than the OS socket buffer, so make it
    // small.
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair({.read_chunk_size = 256});
    ws.write(std::string(512, 'A'));
    CHECK(result(loop, rs.read_bytes(256)) == std::string(256, 'A'));
    ws.close();
    // Allow the close to propagate to the `rs` side of the connection.
    test::wait_for_events(rs.fileno(), POLLRDHUP);
    loop.iterate(some_iterations);
    CHECK(result(loop, rs.read_bytes(256)) == std::string(256, 'A'));
  }

  TEST_CASE("IOStream.close: a pending read fails, unless it is read_until_close (S2, S3)") {
    test::Loop loop;
    std::string buffer(10, '\0');
    for (int kind = 0; kind < 4; ++kind) {
      CAPTURE(kind);
      const auto [rs, ws] = make_iostream_pair();
      result(loop, ws.write("abc"));
      switch (kind) {
        case 0: {
          const auto future = rs.read_bytes(10);
          loop.iterate(some_iterations);
          rs.close();
          CHECK(why_closed(loop, future) == std::error_code());
          break;
        }
        case 1: {
          const auto future = rs.read_until("\n");
          loop.iterate(some_iterations);
          rs.close(std::make_error_code(std::errc::timed_out));
          CHECK(why_closed(loop, future) == std::errc::timed_out);
          break;
        }
        case 2: {
          const auto future = rs.read_into(buffer);
          loop.iterate(some_iterations);
          rs.close();
          CHECK(why_closed(loop, future) == std::error_code());
          break;
        }
        default: {
          const auto future = rs.read_until_close();
          loop.iterate(some_iterations);
          rs.close();
          CHECK(result(loop, future) == "abc");
          continue;
        }
      }
      // What had come stays readable.
      CHECK(result(loop, rs.read_bytes(3)) == "abc");
    }
  }

  // ---- errors of the connection

  TEST_CASE(
      "IOStream: a reset is the real_error of the pending read, and is not logged (S6, S25)") {
    test::Loop loop;
    // With TLS an end in order would come before it.
    const auto [rs, ws] = make_iostream_pair(Transport::tcp);
    const auto future = rs.read_bytes(1);
    loop.iterate();
    test::reset_on_close(ws);
    ws.close();
    const std::error_code error = why_closed(loop, future);
    CHECK(error == std::errc::connection_reset);
    CHECK(error.category() == std::system_category());
    CHECK(rs.error() == error);
    CHECK(rs.closed());
    CHECK(why_closed(loop, rs.read_bytes(1)) == std::errc::connection_reset);
    CHECK(why_closed(loop, rs.write("x")) == std::errc::connection_reset);
  }

  TEST_CASE("IOStream: a Unix peer that closes with unread bytes resets (S6)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair(Transport::local);
    result(loop, rs.write("never read"));
    const auto future = rs.read_bytes(1);
    loop.iterate();
    ws.close();
    CHECK(why_closed(loop, future) == std::errc::connection_reset);
  }

  TEST_CASE("IOStream: an orderly close has no error (S6)") {
    test::Loop loop;
    const auto [rs, ws] = make_iostream_pair();
    const auto future = rs.read_bytes(1);
    ws.close();
    try {
      result(loop, future);
      FAIL("it did not fail");
    } catch (const StreamClosedError& error) {
      CHECK_FALSE(error.real_error());
      CHECK(error.code() == StreamErrc::closed);
      CHECK(error.what() == std::string("Stream is closed"));
    }
    CHECK_FALSE(rs.error());
    CHECK_FALSE(ws.error());
  }

  // Python: iostream_test.TestIOStreamMixin.test_inline_read_error
  TEST_CASE("IOStream: an error of the read itself arrives through the Future, unlogged") {
    // Python throws it from the call.
    test::Loop loop;
    const auto [server, client] = make_iostream_pair();
    ::close(server.fileno());
    CHECK(why_closed(loop, server.read_bytes(1)) == std::errc::bad_file_descriptor);
    CHECK(server.error() == std::errc::bad_file_descriptor);
  }

  TEST_CASE("IOStream: an error in the middle of a message") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    const auto future = stream.read_until("\n");
    loop.iterate();
    wire->read_error = std::error_code(ETIMEDOUT, std::system_category());
    wire->feed("half a line");
    CHECK(why_closed(loop, future) == std::errc::timed_out);
    CHECK(wire->closes == 1);
    CHECK(result(loop, stream.read_until_close()) == "half a line");
  }

  // ---- after a failed write

  namespace {

  // Writes more than the system takes, and waits for a line of `size` bytes. Then the peer sends
  // that, and goes.
  void read_from_a_peer_that_goes(Transport transport, std::size_t size, std::size_t chunk_size) {
    CAPTURE(transport);
    CAPTURE(size);
    CAPTURE(chunk_size);
    test::Loop loop;
    auto [accepted, peer] = test::connected_sockets(transport);
    const IOStream stream(std::move(accepted), {.read_chunk_size = chunk_size});
    stream.set_send_buffer_size(16 * 1024);
    const auto written = stream.write(std::string(4 * mb, 'w'));
    const auto line = stream.read_until("\n");
    loop.iterate(some_iterations);
    CHECK(stream.writing());

    const std::string last = std::string(size - 1, 'r') + "\n";
    CHECK(::send(peer.native_handle(), last.data(), last.size(), 0) ==
          static_cast<ssize_t>(last.size()));
    peer.close();
    CHECK((result(loop, line) == last));
    const std::error_code error = why_closed(loop, written);
    CHECK((error == std::errc::connection_reset || error == std::errc::broken_pipe));
    wait_until(loop, [&stream] { return stream.closed(); });
    CHECK(stream.error() == error);
  }

  }  // namespace

  TEST_CASE("IOStream: what the peer sent before it went away is read although writing fails") {
    // The write's failure and the last bytes come in one event, and part of those may be on its way
    // to the waiting read already: they must not be overtaken.
    for (const Transport transport : test::transports) {
      for (const std::size_t chunk_size : Sizes{65536, 100}) {
        for (const std::size_t size : Sizes{5, 128, 129, 1000, 10000}) {
          read_from_a_peer_that_goes(transport, size, chunk_size);
        }
      }
    }
  }

  TEST_CASE("IOStream: a failed write keeps for later reads what the peer had sent (S1)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [rs, ws] = make_iostream_pair(transport);
      result(loop, rs.write("unread"));  // makes ws's close a reset
      result(loop, ws.write("one\ntwo\n"));
      ws.close();
      wait_until(loop, [rs] {
        rs.write("x");
        return rs.closed();
      });
      CHECK(rs.error());
      CHECK(result(loop, rs.read_until("\n")) == "one\n");
      CHECK(result(loop, rs.read_until("\n")) == "two\n");
      CHECK(why_closed(loop, rs.read_until("\n")) == rs.error());
    }
  }

  TEST_CASE("IOStream: what a failed write leaves to read is no more than max_buffer_size") {
    test::Loop loop;
    const auto [stream, wire] =
        make_wire_stream({.max_buffer_size = 10000, .read_chunk_size = 500});
    wire->incoming = std::string(mb, 'r');
    wire->write_error = std::error_code(EPIPE, std::system_category());
    CHECK(why_closed(loop, stream.write("x")) == std::errc::broken_pipe);
    CHECK(result(loop, stream.read_until_close()).size() <= 10500);
  }

  TEST_CASE("IOStream: what comes between a read in vain and the wait after it is noticed") {
    if (IOLoop::configured_class() != "epoll") return;  // others tell it in another order
    test::Loop loop;
    // So many that their waits do not all begin before the system is asked again.
    std::vector<std::pair<IOStream, IOStream>> many;
    for (int i = 0; i < 150; ++i) many.push_back(make_iostream_pair(Transport::tcp));
    std::vector<Future<std::string>> reads;
    const auto read_all = [&] {
      reads.clear();
      for (const auto& [reader, writer] : many) reads.push_back(reader.read_bytes(1));
    };
    read_all();
    for (const auto& [reader, writer] : many) writer.write("x");
    for (const auto& read : reads) result(loop, read);
    const auto [stream, peer] = make_iostream_pair(Transport::tcp);
    bool closed = false;
    watch_close(stream, closed);

    const auto [first, first_peer] = make_iostream_pair(Transport::tcp);
    const auto [last, last_peer] = make_iostream_pair(Transport::tcp);
    first.read_bytes(1).add_done_callback([&, fd = stream.fileno()] {
      char byte;
      CHECK(::recv(fd, &byte, 1, 0) == 1);  // the stream will find nothing
      read_all();
    });
    last.read_bytes(1).add_done_callback(
        [fd = peer.fileno()] { CHECK(::shutdown(fd, SHUT_WR) == 0); });
    loop.iterate(5);
    // In this order they are told to be readable.
    for (const IOStream& writer : {first_peer, peer, last_peer}) {
      writer.write("x");
      writer.flush();
    }
    wait_until(loop, [&] { return closed; });
  }
}
