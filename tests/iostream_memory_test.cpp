// SPDX-License-Identifier: Apache-2.0
//
// What memory streams hold, and when they give it back.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <malloc.h>

using namespace tornado;
using test::make_iostream_pair;
using test::result;
using test::Transport;
using test::wait_until;

namespace {

/// Bytes that this process has from malloc.
std::size_t in_use() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

using Pairs = std::vector<std::pair<IOStream, IOStream>>;

Pairs make_pairs(std::size_t count, Transport transport) {
  Pairs pairs;
  while (pairs.size() < count) pairs.push_back(make_iostream_pair(transport));
  return pairs;
}

/// Each connection carries a message there and back, twice.
Future<void> talk(const Pairs& pairs, std::string message) {
  for (const auto& [server, client] : pairs) {
    for (int i = 0; i < 2; ++i) {
      client.write(message);
      const std::string got = co_await server.read_bytes(message.size());
      server.write(got);
      const std::string back = co_await client.read_bytes(message.size());
      CHECK(back == message);
    }
  }
}

/// Waits to read on every stream, as an idle connection does.
std::vector<Future<std::string>> wait_for_more(const Pairs& pairs) {
  std::vector<Future<std::string>> reads;
  for (const auto& [server, client] : pairs) {
    reads.push_back(server.read_until("\n"));
    reads.push_back(client.read_until("\n"));
  }
  return reads;
}

}  // namespace

// A sanitizer has an allocator of its own.
TEST_SUITE("iostream" * doctest::skip(test::sanitized)) {
  TEST_CASE("IOStream: an idle one holds no buffer, whatever it has carried") {
    for (const Transport transport : {Transport::tcp, Transport::local}) {
      CAPTURE(transport);
      constexpr std::size_t count = 100;
      constexpr std::size_t size = 16 * 1024;
      test::Loop loop;
      const Pairs pairs = make_pairs(count, transport);
      loop.run([&] { return talk(pairs, "short\n"); });
      auto reads = wait_for_more(pairs);
      loop.iterate(3);
      const std::size_t idle = in_use();
      for (const auto& read : reads) read.cancel();

      loop.run([&] { return talk(pairs, std::string(size, '.')); });
      reads = wait_for_more(pairs);
      loop.iterate(3);
      constexpr std::size_t of_the_loop = 64 * 1024;
      CHECK(in_use() < idle + of_the_loop + 2 * count * 100);
    }
  }

  TEST_CASE("IOStream: a stream that was busy and is closed holds nothing") {
    test::Loop loop;
    constexpr std::size_t count = 50;
    const Pairs pairs = make_pairs(count, Transport::tcp);
    loop.run([&] { return talk(pairs, "short\n"); });
    const std::size_t before = in_use();
    loop.run([&] { return talk(pairs, std::string(16 * 1024, '.')); });
    const auto reads = wait_for_more(pairs);
    loop.iterate(3);
    for (const auto& [server, client] : pairs) {
      server.close();
      client.close();
    }
    // The handles live on.
    wait_until(loop, [&] { return in_use() < before + 2 * count * 4000; });
  }
}
