// SPDX-License-Identifier: Apache-2.0
//
// What happens again and again takes no memory from the heap: frames, results, callbacks and timers
// are kept per thread and used again.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/asyncgen.hpp"
#include "tornado/ioloop.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

std::atomic<long> allocations{0};
std::atomic<long> bytes_in_use{0};

}  // namespace

// With a sanitizer nothing is kept, or the operators are its own.
#ifndef TORNADO_TEST_SANITIZED

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) {
    bytes_in_use += static_cast<long>(::malloc_usable_size(memory));
    return memory;
  }
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  bytes_in_use -= static_cast<long>(::malloc_usable_size(memory));
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept { ::operator delete(memory); }

#endif

namespace {

constexpr int warm_up = 300;
constexpr int count = 1000;

/// How often `step()`, a coroutine, takes memory from the heap when it is called `count` times.
template <class F>
Future<long> allocations_of(F step) {
  for (int i = 0; i < warm_up; ++i) co_await step();
  const long before = allocations;
  for (int i = 0; i < count; ++i) co_await step();
  co_return allocations - before;
}

template <class F>
long measure(F step) {
  test::Loop loop;
  return loop.run([&] { return allocations_of(step); });
}

}  // namespace

TEST_SUITE("allocation") {
  TEST_CASE("allocation: is counted, where the other tests can be believed") {
    const long here = measure([]() -> Future<void> {
      delete new int;  // the compiler may leave this out, but not what follows
      const std::string text(1000, 'x');
      CHECK(text.back() == 'x');
      co_return;
    });
    CHECK((test::sanitized || here >= count));
  }

  TEST_CASE("allocation: none to call and await a coroutine that is ready") {
    CHECK(measure([]() -> Future<int> { co_return 1; }) == 0);
    CHECK(measure([]() -> Future<void> {
            const auto text = []() -> Future<std::string> { co_return "short"; };
            co_await text();
          }) == 0);
  }

  TEST_CASE("allocation: none to wait for a Future") {
    CHECK(measure([]() -> Future<void> {
            Future<int> future;
            const auto complete = [](Future<int> which) { which.set_result(1); };
            IOLoop::current().add_callback(complete, future);
            co_await future;
          }) == 0);
  }

  TEST_CASE("allocation: none to let an iteration pass") {
    CHECK(measure([]() -> Future<void> { co_await gen::moment; }) == 0);
  }

  TEST_CASE("allocation: none to sleep") {
    CHECK(measure([] { return gen::sleep(0s); }) == 0);
    CHECK(measure([] { return gen::sleep(1us); }) == 0);
  }

  TEST_CASE("allocation: none in with_timeout, in time or not") {
    const auto soon = []() -> Future<int> {
      co_await gen::moment;
      co_return 1;
    };
    CHECK(measure([&] { return gen::with_timeout(1h, soon()); }) == 0);
    CHECK(measure([&]() -> Future<void> { co_await gen::with_timeout(1h, soon()); }) == 0);
  }

  TEST_CASE("allocation: none in timeout_after of a plain function") {
    CHECK(measure([] {
            constexpr auto soon = [](int value) -> Future<int> {
              co_await gen::moment;
              co_return value;
            };
            return gen::timeout_after(1h, soon, 5);
          }) == 0);
  }

  TEST_CASE("allocation: none for a callback, a timeout, a done-callback") {
    CHECK(measure([]() -> Future<void> {
            IOLoop::current().add_callback([] {});
            co_await gen::moment;
          }) == 0);
    CHECK(measure([]() -> Future<void> {
            IOLoop::current().call_later(0s, [] {});
            IOLoop::current().remove_timeout(IOLoop::current().call_later(1h, [] {}));
            co_await gen::moment;
          }) == 0);
    CHECK(measure([]() -> Future<void> {
            const Future<int> future;
            future.add_done_callback([](const Future<int>& done) { CHECK(done.result() == 1); });
            future.set_result(1);
            co_await gen::moment;
          }) == 0);
  }

  // Allocated on one thread and freed on another, it would otherwise never be used again.
  TEST_CASE("allocation: hardly any for callbacks that another thread adds" *
            doctest::skip(test::sanitized)) {
    constexpr int callbacks = 5000;
    constexpr int rounds = 10;
    test::Loop loop;
    int left = 0;
    std::binary_semaphore begin(0);
    std::binary_semaphore end(0);
    bool over = false;
    std::jthread other([&] {
      for (;;) {
        begin.acquire();
        if (over) return;
        for (int i = 0; i < callbacks; ++i) loop.add_callback([&left] { --left; });
        end.release();
      }
    });
    const auto run_rounds = [&] {
      for (int round = 0; round < rounds; ++round) {
        left = callbacks;
        begin.release();
        end.acquire();
        loop.run_until([&] { return left == 0; });
      }
    };
    run_rounds();
    const long before = allocations;
    run_rounds();
    CHECK(allocations - before < callbacks);
    over = true;
    begin.release();
  }

  TEST_CASE("allocation: none for a cancelled wait that nobody catches, but the exception") {
    // libstdc++ takes memory for exceptions by itself, not by operator new.
    CHECK(measure([]() -> Future<void> {
            const Future<void> sleeping = gen::sleep(1h);
            sleeping.cancel();
            while (!sleeping.done()) co_await gen::moment;
          }) == 0);
  }

  TEST_CASE("allocation: none per value of a generator") {
    const auto values = []() -> gen::AsyncGenerator<int> {
      for (int i = 0;; ++i) {
        if (i % 2 == 0) co_await gen::moment;
        co_yield i;
      }
    };
    auto generator = values();
    CHECK(measure([&] { return generator.next(); }) == 0);
  }

  TEST_CASE("allocation: none for a short message that is read and written back") {
    test::Loop loop;
    for (const auto transport : test::transports) {
      auto [server, client] = test::make_iostream_pair(transport);
      const auto echo = [](IOStream stream) -> Future<void> {
        try {
          for (;;) {
            const std::string line = co_await stream.read_until("\n");
            co_await stream.write(line);
          }
        } catch (const StreamClosedError&) {
        }
      };
      const Future<void> echoing = echo(server);
      const auto round_trip = [&]() -> Future<void> {
        client.write("short\n");
        co_await client.read_until("\n");
      };
      CHECK(loop.run([&] { return allocations_of(round_trip); }) == 0);
      client.close();
      loop.run_until([&] { return echoing.done(); });
    }
  }

  TEST_CASE("allocation: closing a stream frees what it has not sent, though handles live (S35)" *
            doctest::skip(test::sanitized)) {
    constexpr long mb = 1024 * 1024;
    for (const auto transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [reader, writer] = test::make_narrow_pair(transport);
      test::result(loop, writer.write("a first message"));
      CHECK(test::result(loop, reader.read_bytes(15)) == "a first message");
      std::vector<Future<void>> writes;
      const long before = bytes_in_use.load();
      for (int i = 0; i < 4; ++i) writes.push_back(writer.write(std::string(mb, 'x')));
      for (int i = 0; i < 100; ++i) writes.push_back(writer.write("small ones"));
      loop.iterate(3);
      CHECK(bytes_in_use.load() > before + 3 * mb);
      writer.close();
      writes.clear();
      CHECK(bytes_in_use.load() < before + mb / 16);
      CHECK(writer.closed());
    }
  }
}
