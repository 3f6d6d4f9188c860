// SPDX-License-Identifier: Apache-2.0
//
// StreamBackend: the seam below a stream, and what a backend may do.
#include "tornado/stream_backend.hpp"

#include "stream_support.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"

#include <cerrno>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace tornado;
using test::make_wire_stream;
using test::result;
using test::wait_until;
using test::why_closed;

namespace {

const std::error_code broken_pipe(EPIPE, std::system_category());

}  // namespace

TEST_SUITE("iostream") {
  TEST_CASE("StreamBackend: short writes and would_block, in all sorts of ways, lose nothing") {
    std::mt19937 random(3);
    const std::string source = test::pattern(30000);
    for (int round = 0; round < 30; ++round) {
      CAPTURE(round);
      test::Loop loop;
      const auto [stream, wire] = make_wire_stream();
      wire->room = 0;
      std::string expected;
      std::vector<std::pair<std::size_t, Future<void>>> writes;  // where they end
      for (int step = 0; step < 200; ++step) {
        const std::size_t sizes[] = {0, 1, 10, 100, 2047, 2048, 5000, 20000};
        std::string data = source.substr(static_cast<std::size_t>(step), sizes[random() % 8]);
        expected += data;
        if (random() % 2 == 0) {
          writes.emplace_back(expected.size(), stream.write(std::string_view(data)));
        } else {
          writes.emplace_back(expected.size(), stream.write(std::move(data)));
        }
        if (random() % 3 != 0) continue;
        wire->most_per_send = 1 + random() % 30000;
        wire->make_room(random() % 50000);
        loop.iterate(static_cast<int>(random() % 3));
        for (const auto& [end, future] : writes) {
          if (future.done() != (end <= wire->written.size())) {
            FAIL_CHECK("a write that ends at ", end, " is done: ", future.done(), ", but ",
                       wire->written.size(), " bytes were sent");
          }
        }
      }
      wire->make_room();
      result(loop, writes.back().second);
      CHECK((wire->written == expected));
      CHECK_FALSE(stream.writing());
    }
  }

  TEST_CASE("StreamBackend: while it would block it is not asked again") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->room = 3;
    stream.write("abcdef");
    loop.iterate(3);
    CHECK(wire->waits_to_write());
    CHECK(wire->sends.size() == 1);
    stream.write("ghi");
    stream.flush();
    loop.iterate(10);
    CHECK(wire->sends.size() == 1);
    CHECK(wire->written == "abc");
    wire->make_room();
    loop.iterate(3);
    CHECK(wire->written == "abcdefghi");
  }

  TEST_CASE("StreamBackend: an error of a write closes, and all writes fail with it (S6, S25)") {
    for (const bool reading : {false, true}) {
      CAPTURE(reading);
      test::Loop loop;
      const auto [stream, wire] = make_wire_stream();
      bool closed = false;
      if (reading) stream.set_close_callback([&closed] { closed = true; });
      loop.iterate(2);
      CHECK(wire->waits_to_read() == reading);
      wire->room = 2;
      const auto first = stream.write("ab");
      const auto second = stream.write("cd");
      const auto third = stream.write("ef");
      loop.iterate();
      wire->write_error = broken_pipe;
      wire->make_room();
      CHECK_NOTHROW(first.result());
      CHECK(why_closed(loop, second) == std::errc::broken_pipe);
      CHECK(why_closed(loop, third) == std::errc::broken_pipe);
      CHECK(stream.closed());
      CHECK(stream.error() == broken_pipe);
      CHECK(wire->closes == 1);
      CHECK(why_closed(loop, stream.write("gh")) == std::errc::broken_pipe);
      CHECK(wire->written == "ab");
      if (reading) wait_until(loop, [&] { return closed; });
    }
  }

  TEST_CASE("StreamBackend: an error of a wait closes") {
    test::Loop loop;
    {
      const auto [stream, wire] = make_wire_stream();
      wire->room = 0;
      const auto future = stream.write("ab");
      loop.iterate();
      wire->wake_writer(broken_pipe);
      CHECK(why_closed(loop, future) == std::errc::broken_pipe);
    }
    {
      const auto [stream, wire] = make_wire_stream();
      const auto future = stream.read_bytes(1);
      loop.iterate();
      wire->fail_reading(broken_pipe);
      CHECK(why_closed(loop, future) == std::errc::broken_pipe);
      CHECK(stream.error() == broken_pipe);
    }
  }

  TEST_CASE("StreamBackend: bytes that come with the news of the end") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    const auto rest = stream.read_until_close();
    loop.iterate();
    wire->ended = true;
    wire->feed(test::pattern(200000));
    CHECK((result(loop, rest) == test::pattern(200000)));
    CHECK(wire->closes == 1);
  }

  TEST_CASE(
      "StreamBackend: what waits when the stream is closed is given up, and harmless if not") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    wire->room = 0;
    const auto write = stream.write("abc");
    const auto read = stream.read_bytes(1);
    loop.iterate();
    CHECK(wire->waits_to_read());
    CHECK(wire->waits_to_write());
    stream.close();
    CHECK_FALSE(wire->waits_to_read());
    CHECK_FALSE(wire->waits_to_write());
    CHECK(why_closed(loop, write) == std::error_code());
    CHECK(why_closed(loop, read) == std::error_code());
    stream.close();
    CHECK(wire->closes == 1);
  }

  TEST_CASE("StreamBackend: is closed once, also by a loop that closes while writing fails") {
    std::shared_ptr<test::Wire> wire;
    {
      test::Loop loop;
      const auto [stream, its_wire] = make_wire_stream();
      wire = its_wire;
      wire->room = 0;
      stream.write("abc");
      wire->write_error = broken_pipe;
    }
    CHECK(wire->closes == 1);
    CHECK(wire->written.empty());
  }

  TEST_CASE("StreamBackend: connects, or says why not") {
    test::Loop loop;
    const Address address("127.0.0.1", 4);
    {
      const auto [stream, wire] = make_wire_stream();
      const auto connected = stream.connect(address);
      const auto written = stream.write("abc");
      loop.iterate();
      CHECK(result(loop, connected) == stream);
      result(loop, written);
      CHECK(wire->connects == 1);
      CHECK(wire->written == "abc");
    }
    {
      const auto [stream, wire] = make_wire_stream();
      wire->connect_error = std::error_code(ENETUNREACH, std::system_category());
      CHECK(why_closed(loop, stream.connect(address)) == std::errc::network_unreachable);
      CHECK(wire->closes == 1);
    }
    {
      const auto [stream, wire] = make_wire_stream();
      wire->late_connect_error = std::error_code(ECONNREFUSED, std::system_category());
      CHECK(why_closed(loop, stream.connect(address)) == std::errc::connection_refused);
      CHECK(stream.error() == std::errc::connection_refused);
    }
    {
      const auto [stream, wire] = make_wire_stream();
      wire->room = 0;
      const auto connected = stream.connect(address);
      wire->wake_writer(broken_pipe);
      CHECK(why_closed(loop, connected) == std::errc::broken_pipe);
    }
  }

  namespace {

  // The least that a backend has to have.
  class Minimal final : public StreamBackend {
   public:
    Result read_from_fd(char*, std::size_t) noexcept override { return {0}; }
    Result write_to_fd(std::span<const std::string_view>) noexcept override { return {0}; }
    void wait(Interest, Ready) override {}
    void close_fd() noexcept override {}
  };

  }  // namespace

  TEST_CASE("StreamBackend: without a socket there is no connect, no address and no option") {
    test::Loop loop;
    const IOStream stream(std::make_unique<Minimal>());
    CHECK(stream.fileno() == Socket::invalid_handle);
    CHECK_THROWS_AS(static_cast<void>(stream.local_address()), std::system_error);
    CHECK_THROWS_AS(static_cast<void>(stream.remote_address()), std::system_error);
    CHECK_THROWS_AS(stream.set_nodelay(true), std::system_error);
    CHECK(why_closed(loop, stream.connect(Address("127.0.0.1", 1))) ==
          std::errc::operation_not_supported);
    CHECK(stream.closed());
  }
}
