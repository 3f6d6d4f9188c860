// SPDX-License-Identifier: Apache-2.0
//
// A stream whose next bytes are always there must not keep the others waiting.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace tornado;
using test::make_iostream_pair;
using test::make_wire_stream;
using test::result;
using test::Transport;
using test::why_closed;

namespace {

/// Reads byte for byte until that is no longer possible, and counts.
Future<void> read_bytes_one_by_one(IOStream stream, std::size_t& count) {
  try {
    for (;;) {
      co_await stream.read_bytes(1);
      ++count;
    }
  } catch (const StreamClosedError&) {
  }
}

/// A stream that has got 1000 bytes; one of them was read.
std::pair<IOStream, std::shared_ptr<test::Wire>> flooded_stream(test::Loop& loop) {
  auto pair = make_wire_stream();
  pair.second->incoming = std::string(1000, 'x');
  result(loop, pair.first.read_bytes(1));
  return pair;
}

constexpr std::size_t chunk = std::size_t{64} * 1024;

/// Streams that have `chunks` times `size` bytes to read each, and what reads them in such pieces.
class Busy {
 public:
  Busy(std::size_t count, std::size_t chunks, std::size_t size = chunk,
       std::function<void(std::size_t)> on_read = nullptr)
      : on_read_(std::move(on_read)) {
    for (std::size_t i = 0; i < count; ++i) {
      auto [stream, wire] = make_wire_stream({.read_chunk_size = size});
      wire->incoming = std::string(chunks * size, 'x');
      wire->ended = true;
      all_.push_back(read(std::move(stream), i, size));
    }
  }

  /// Who read what, by their numbers.
  const std::vector<std::size_t>& reads() const noexcept { return reads_; }
  bool done() const {
    return std::ranges::all_of(all_, [](const Future<void>& each) { return each.done(); });
  }
  /// The most reads that one had in a row, of those during which all had something to read.
  std::size_t longest_row(std::size_t chunks) const {
    std::size_t longest = 0;
    std::size_t row = 0;
    std::vector<std::size_t> had(all_.size());
    for (std::size_t i = 0; i < reads_.size(); ++i) {
      row = i > 0 && reads_[i] == reads_[i - 1] ? row + 1 : 1;
      longest = std::max(longest, row);
      if (++had[reads_[i]] == chunks) break;
    }
    return longest;
  }

 private:
  Future<void> read(IOStream stream, std::size_t number, std::size_t size) {
    try {
      for (;;) {
        co_await stream.read_bytes(size, Partial::yes);
        reads_.push_back(number);
        if (on_read_) on_read_(reads_.size());
      }
    } catch (const StreamClosedError&) {
    }
  }

  std::vector<Future<void>> all_;
  std::vector<std::size_t> reads_;
  std::function<void(std::size_t)> on_read_;
};

/// Until they are done; how many reads at most there were between two callbacks.
std::size_t most_per_iteration(test::Loop& loop, const Busy& busy) {
  std::size_t before = 0;
  std::size_t most = 0;
  loop.run_until([&] {  // asked in each iteration
    most = std::max(most, busy.reads().size() - before);
    before = busy.reads().size();
    return busy.done();
  });
  return most;
}

}  // namespace

TEST_SUITE("iostream") {
  TEST_CASE("IOStream: a flooding connection does not starve a quiet one") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [flooded, flooding] = make_iostream_pair(transport);
      const auto [quiet_reader, quiet_writer] = make_iostream_pair(transport);
      // It is in the buffer: no read of it has to wait for the system.
      const std::string flood(60'000, 'x');
      flooding.write(flood);
      result(loop, flooded.read_bytes(1));
      std::size_t count = 1;
      Future<void> reads;
      quiet_writer.write("hello");
      const auto hello = quiet_reader.read_bytes(5);
      // In the loop, where a coroutine that never suspends keeps everybody waiting.
      loop.add_callback([&] { reads = read_bytes_one_by_one(flooded, count); });
      CHECK(result(loop, hello) == "hello");
      CHECK(count < flood.size() / 2);
      flooding.close();
      result(loop, reads);
      CHECK(count == flood.size());
    }
  }

  TEST_CASE("IOStream: so does one that is always readable") {
    test::Loop loop;
    const auto [flooded, wire] = make_wire_stream();
    constexpr std::size_t size = 10'000'000;
    wire->incoming = std::string(size, 'x');
    const auto all = flooded.read_bytes(size);
    const auto [quiet_reader, quiet_writer] = make_iostream_pair();
    quiet_writer.write("hello");
    CHECK(result(loop, quiet_reader.read_bytes(5)) == "hello");
    CHECK_FALSE(all.done());
    CHECK(result(loop, all).size() == size);
  }

  TEST_CASE("IOStream: who has much to read gets several chunks in a row, and then the next") {
    test::Loop loop;
    const Busy busy(4, 100);
    loop.run_until([&] { return busy.done(); });
    CHECK(busy.reads().size() == 400);
    CHECK(busy.longest_row(100) == 16);
  }

  TEST_CASE("IOStream: who has little to read at a time takes turns with the others") {
    test::Loop loop;
    const Busy busy(4, 100, 100);
    loop.run_until([&] { return busy.done(); });
    CHECK(busy.reads().size() == 400);
    CHECK(busy.longest_row(100) <= 2);
  }

  TEST_CASE("IOStream: while all have little to read, several rounds go by between callbacks") {
    test::Loop loop;
    const Busy busy(4, 1000, 100);
    const std::size_t most = most_per_iteration(loop, busy);
    CHECK(busy.reads().size() == 4000);
    CHECK(most > 16 * 4);
    CHECK(most <= 512 + 16);  // and before the streams are known to be several
  }

  TEST_CASE("IOStream: however many have much to read, callbacks get their turn") {
    test::Loop loop;
    const Busy busy(128, 20);
    const std::size_t most = most_per_iteration(loop, busy);
    CHECK(busy.reads().size() == 128 * 20);
    CHECK(most <= 128 + 64);  // each as it becomes readable, and four in a row
  }

  TEST_CASE("IOStream: reads are not gone on with when the loop is stopped") {
    for (const std::size_t size : {std::size_t{100}, chunk}) {
      CAPTURE(size);
      test::Loop loop;
      const Busy busy(4, 1000, size, [&](std::size_t count) {
        if (count == 500) loop.stop();
      });
      loop.wait();
      CHECK(busy.reads().size() >= 500);
      CHECK(busy.reads().size() <= 500 + 4);
    }
  }

  TEST_CASE("IOStream: callbacks get their turn between reads from the buffer") {
    test::Loop loop;
    const auto [stream, wire] = flooded_stream(loop);
    std::size_t count = 1;
    std::size_t seen = 0;
    loop.add_callback([&] {
      read_bytes_one_by_one(stream, count);
      loop.add_callback([&] { seen = count; });
    });
    loop.run_until([&] { return count == 1000; });
    CHECK(seen > 1);
    CHECK(seen < 1000);
    stream.close();
  }

  TEST_CASE("IOStream: a read that waits its turn gets its bytes when the stream is closed (S2)") {
    test::Loop loop;
    const auto [stream, wire] = flooded_stream(loop);
    std::size_t count = 1;
    Future<void> reads;
    loop.add_callback([&] {
      reads = read_bytes_one_by_one(stream, count);
      CHECK(stream.reading());
      CHECK(count < 1000);
      stream.close();
    });
    loop.run_until([&] { return reads.done(); });
    // The rest was buffered as well, and a closed stream gives what it has (S1).
    CHECK(count == 1000);
  }

  TEST_CASE("IOStream: a read that waits its turn can be cancelled") {
    test::Loop loop;
    const auto [stream, wire] = flooded_stream(loop);
    std::size_t count = 1;
    Future<void> reads;
    loop.add_callback([&] {
      reads = read_bytes_one_by_one(stream, count);
      CHECK(stream.reading());
      reads.cancel();
    });
    loop.run_until([&] { return reads.done(); });
    CHECK(reads.cancelled());
    CHECK(count < 1000);
    const std::size_t rest = 1000 - count;
    CHECK(result(loop, stream.read_bytes(rest)) == std::string(rest, 'x'));
  }

  TEST_CASE("IOStream: a read that waits its turn does not hinder the loop's close") {
    Future<void> reads;
    {
      test::Loop loop;
      const auto [stream, wire] = flooded_stream(loop);
      std::size_t count = 1;
      const IOStream& flooded = stream;
      loop.add_callback([&] {
        reads = read_bytes_one_by_one(flooded, count);
        loop.stop();
      });
      loop.wait();
      CHECK(flooded.reading());
    }
    CHECK(reads.cancelled());
  }
}
