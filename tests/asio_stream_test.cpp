// SPDX-License-Identifier: Apache-2.0
//
// Asio's sockets as streams, and streams as Asio's.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/asio.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

using asio::use_awaitable;
using asio::ip::tcp;
using test::outcome;
using Unix = asio::local::stream_protocol;

std::pair<tcp::socket, tcp::socket> connected_tcp(asio::io_context& io) {
  tcp::acceptor acceptor(io, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  tcp::socket client(io);
  client.connect(acceptor.local_endpoint());
  return {acceptor.accept(), std::move(client)};
}

std::pair<Unix::socket, Unix::socket> connected_unix(asio::io_context& io) {
  Unix::socket one(io);
  Unix::socket two(io);
  asio::local::connect_pair(one, two);
  return {std::move(one), std::move(two)};
}

std::string read_now(tcp::socket& socket, std::size_t size) {
  std::string text(size, ' ');
  asio::read(socket, asio::buffer(text));
  return text;
}

}  // namespace

TEST_SUITE("asio") {
  TEST_CASE("make_iostream: TCP and Unix sockets, from a context that nobody runs") {
    test::Loop loop;
    asio::io_context elsewhere;
    auto [one, two] = connected_tcp(elsewhere);
    two.non_blocking(false);
    const IOStream reader = make_iostream(std::move(one));
    const IOStream writer = make_iostream(std::move(two), {.max_buffer_size = 1000});
    CHECK(writer.options().max_buffer_size == 1000);
    writer.write("over TCP\n");
    CHECK(test::result(loop, reader.read_until("\n")) == "over TCP\n");

    auto [three, four] = connected_unix(elsewhere);
    const IOStream receiver = make_iostream(std::move(three));
    const IOStream sender = make_iostream(std::move(four));
    sender.write("over a file\n");
    CHECK(test::result(loop, receiver.read_until("\n")) == "over a file\n");
  }

  TEST_CASE("make_iostream: a socket that was in use, on the loop's own context") {
    test::Loop loop;
    asio::io_context& io = get_io_context(loop);
    auto [one, two] = connected_tcp(io);
    char byte;
    const Future<std::size_t> pending = one.async_read_some(asio::buffer(&byte, 1), as_future);
    loop.iterate();
    const IOStream stream = make_iostream(std::move(one));
    test::wait_until(loop, [&] { return pending.done(); });
    CHECK(outcome(pending) != "value");
    asio::write(two, asio::buffer("hello", 5));
    CHECK(test::result(loop, stream.read_bytes(5)) == "hello");
  }

  TEST_CASE("make_iostream: a closed socket is refused") {
    test::Loop loop;
    asio::io_context io;
    CHECK_THROWS_AS(make_iostream(tcp::socket(io)), std::system_error);
  }

  TEST_CASE("release_socket: gives the socket back, and the bytes that nobody asked for") {
    test::Loop loop;
    asio::io_context& io = get_io_context(loop);
    auto [one, two] = connected_tcp(io);
    const auto handle = one.native_handle();
    const tcp::endpoint endpoint = one.local_endpoint();
    const IOStream stream = make_iostream(std::move(one));
    stream.set_close_callback([] { FAIL_CHECK("it was not closed"); });
    asio::write(two, asio::buffer("line\nrest", 9));
    CHECK(test::result(loop, stream.read_until("\n")) == "line\n");

    auto [socket, received] = loop.run([&] { return release_socket(stream); });
    CHECK(received == "rest");
    CHECK(socket.native_handle() == handle);
    CHECK(socket.local_endpoint() == endpoint);
    CHECK(stream.closed());
    CHECK(stream.fileno() == Socket::invalid_handle);
    CHECK(outcome(stream.write("x")) == "Stream is closed");

    // It is as good as before, for blocking and for asynchronous operations.
    asio::write(socket, asio::buffer("ping", 4));
    CHECK(read_now(two, 4) == "ping");
    asio::write(two, asio::buffer("pong", 4));
    CHECK(read_now(socket, 4) == "pong");
    std::string text(4, ' ');
    const Future<std::size_t> read = asio::async_read(socket, asio::buffer(text), as_future);
    asio::write(two, asio::buffer("more", 4));
    CHECK(test::result(loop, read) == 4);
    CHECK(text == "more");

    // And into a stream again.
    const IOStream again = make_iostream(std::move(socket));
    asio::write(two, asio::buffer("again", 5));
    CHECK(test::result(loop, again.read_bytes(5)) == "again");
  }

  TEST_CASE("release_socket: what was read ahead is not lost") {
    test::Loop loop;
    asio::io_context& io = get_io_context(loop);
    // The bytes are there before, at the moment of, and after the release; the last, an end.
    for (const int when : {0, 1, 2, 3}) {
      CAPTURE(when);
      auto [one, two] = connected_tcp(io);
      const IOStream stream = make_iostream(std::move(one));
      stream.set_close_callback([] { FAIL_CHECK("it was not closed"); });  // so it reads ahead
      loop.iterate(3);
      if (when == 0) {
        asio::write(two, asio::buffer("bytes", 5));
        loop.iterate(3);
      }
      if (when == 1) asio::write(two, asio::buffer("bytes", 5));
      const Future<ReleasedSocket<>> released = release_socket(stream);
      if (when == 2) asio::write(two, asio::buffer("bytes", 5));
      if (when == 3) two.shutdown(tcp::socket::shutdown_send);
      auto [socket, received] = loop.run([&] { return released; });
      if (when == 3) {
        std::error_code error;
        char byte;
        CHECK(socket.read_some(asio::buffer(&byte, 1), error) == 0);
        CHECK(error == asio::error::eof);
        CHECK(received.empty());
      } else {
        CHECK(received + read_now(socket, 5 - received.size()) == "bytes");
      }
    }
  }

  TEST_CASE("release_socket: what was written is sent first") {
    test::Loop loop;
    auto [stream, peer] = test::make_narrow_pair();
    constexpr std::size_t size = 300'000;
    stream.write(std::string(size, 'x'));
    const Future<ReleasedSocket<>> released = release_socket(stream);
    loop.iterate(3);
    CHECK(!released.done());
    stream.write("end");  // also what is written meanwhile
    const std::string all = test::result(loop, peer.read_bytes(size + 3));
    CHECK(all.ends_with("xend"));
    auto [socket, received] = loop.run([&] { return released; });
    CHECK(socket.is_open());
  }

  TEST_CASE("release_socket: a Unix socket, and a protocol that is not the socket's") {
    test::Loop loop;
    auto [one, two] = connected_unix(get_io_context(loop));
    const IOStream stream = make_iostream(std::move(one));
    CHECK_THROWS_AS(release_socket(stream), std::invalid_argument);
    auto [socket, received] = loop.run([&] { return release_socket<Unix>(stream); });
    asio::write(socket, asio::buffer("hi", 2));
    std::string text(2, ' ');
    asio::read(two, asio::buffer(text));
    CHECK(text == "hi");
  }

  TEST_CASE("release_socket: not while a read is pending, and the stream stays as it is") {
    test::Loop loop;
    auto [one, two] = connected_tcp(get_io_context(loop));
    const IOStream stream = make_iostream(std::move(one));
    const Future<std::string> line = stream.read_until("\n");
    CHECK_THROWS_AS(release_socket(stream), std::logic_error);
    asio::write(two, asio::buffer("line\n", 5));
    CHECK(test::result(loop, line) == "line\n");
  }

  TEST_CASE("release_socket: while it waits for what was written, the stream goes on") {
    test::Loop loop;
    auto [stream, peer] = test::make_narrow_pair();
    const std::string data(300'000, 'x');
    stream.write(data);
    const Future<ReleasedSocket<>> released = release_socket(stream);
    const Future<std::string> read = stream.read_until("\n");
    CHECK(test::result(loop, peer.read_bytes(data.size())) == data);
    test::wait_until(loop, [&] { return released.done(); });
    CHECK(outcome(released) == "release_socket: a read is pending");
    peer.write("next\n");
    CHECK(test::result(loop, read) == "next\n");

    stream.write(data);
    const Future<ReleasedSocket<>> cancelled = release_socket(stream);
    loop.iterate();
    cancelled.cancel();
    CHECK(test::result(loop, peer.read_bytes(data.size())) == data);
    CHECK(cancelled.cancelled());
    peer.write("last\n");
    CHECK(test::result(loop, stream.read_until("\n")) == "last\n");

    stream.write(data);
    const Future<ReleasedSocket<>> closed = release_socket(stream);
    stream.close();
    CHECK(test::why_closed(loop, closed) == std::error_code());
    CHECK(test::why_closed(loop, release_socket(stream)) == std::error_code());
  }

  TEST_CASE("AsioStream: Asio's algorithms, with handlers, awaitables and Futures") {
    test::Loop loop;
    auto [one, two] = test::make_iostream_pair();
    AsioStream reader(one);
    AsioStream writer(two);
    CHECK(&reader.lowest_layer() == &reader);
    CHECK(reader.next_layer() == one);
    CHECK(reader.get_executor() == get_executor(loop));
    std::string buffer;
    loop.run([&]() -> Future<void> {
      const std::string text = "first\r\nsecond\r\nth";
      const std::array<asio::const_buffer, 3> parts = {asio::buffer(text), asio::const_buffer(),
                                                       asio::buffer("ird\r\n", 5)};
      Future<std::size_t> written = asio::async_write(writer, parts, as_future);
      const std::size_t line =
          co_await asio::async_read_until(reader, asio::dynamic_buffer(buffer), "\r\n", as_future);
      CHECK(buffer.substr(0, line) == "first\r\n");
      CHECK(co_await written == text.size() + 5);
    });
    bool done = false;
    asio::async_read_until(reader, asio::dynamic_buffer(buffer), "third\r\n",
                           [&](const std::error_code& error, std::size_t size) {
                             CHECK(!error);
                             CHECK(size == 22);
                             done = true;
                           });
    CHECK(!done);
    test::wait_until(loop, [&] { return done; });

    const auto session = [&]() -> asio::awaitable<std::string> {
      std::vector<char> large(300'000, 'y');
      std::string got(large.size(), ' ');
      asio::co_spawn(get_executor(loop),
                     asio::async_write(writer, asio::buffer(large), use_awaitable), asio::detached);
      co_await asio::async_read(reader, asio::buffer(got), use_awaitable);
      co_return got;
    };
    const std::string got =
        test::result(loop, asio::co_spawn(get_executor(loop), session(), as_future));
    CHECK(std::count(got.begin(), got.end(), 'y') == 300'000);
  }

  TEST_CASE("AsioStream: the end, errors, and nothing to read or write") {
    test::Loop loop;
    auto [one, two] = test::make_iostream_pair();
    AsioStream stream(one);
    std::error_code error;
    std::size_t bytes = 1;
    bool done = false;
    const auto note = [&](const std::error_code& code, std::size_t size) {
      error = code;
      bytes = size;
      done = true;
    };
    const auto wait = [&] {
      test::wait_until(loop, [&] { return std::exchange(done, false); });
      return error;
    };
    stream.async_read_some(asio::mutable_buffer(), note);
    CHECK(!done);
    CHECK(!wait());
    CHECK(bytes == 0);
    stream.async_write_some(asio::const_buffer(), note);
    CHECK(!wait());

    std::array<char, 4> room;
    stream.async_read_some(asio::buffer(room), note);
    CHECK_THROWS_AS(stream.async_read_some(asio::buffer(room), note), std::logic_error);
    two.write("ab");
    CHECK(!wait());
    CHECK(bytes == 2);

    stream.async_read_some(asio::buffer(room), note);
    two.close();
    CHECK(wait() == asio::error::eof);
    CHECK(bytes == 0);
    stream.async_write_some(asio::buffer("x", 1), note);
    CHECK(wait() == asio::error::broken_pipe);

    auto [three, four] = test::make_iostream_pair();
    AsioStream other(three);
    other.async_read_some(asio::buffer(room), note);
    three.close({ECONNRESET, std::system_category()});
    CHECK(wait() == asio::error::connection_reset);
  }

  TEST_CASE("AsioStream: a read that is cancelled leaves its bytes in the stream") {
    test::Loop loop;
    auto [one, two] = test::make_iostream_pair();
    AsioStream stream(one);
    asio::cancellation_signal signal;
    std::error_code error;
    std::string buffer;
    asio::async_read_until(
        stream, asio::dynamic_buffer(buffer), "\n",
        asio::bind_cancellation_slot(signal.slot(), [&](const std::error_code& code, std::size_t) {
          error = code;
          loop.stop();
        }));
    loop.add_callback([&] { signal.emit(asio::cancellation_type::terminal); });
    loop.wait();
    CHECK(error == asio::error::operation_aborted);
    two.write("line\n");
    CHECK(test::result(loop, one.read_until("\n")) == "line\n");
  }

  TEST_CASE("AsioStream: reads that are pending when the loop closes") {
    asio::io_context io;
    auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    auto [one, two] = test::make_iostream_pair();
    AsioStream stream(one);
    std::array<char, 4> room;
    std::error_code error;
    stream.async_read_some(asio::buffer(room),
                           [&](const std::error_code& code, std::size_t) { error = code; });
    io.poll();
    loop.reset();
    io.restart();
    io.run();
    CHECK(error == asio::error::operation_aborted);
    CHECK_THROWS_AS(AsioStream{one}, std::logic_error);
  }
}
