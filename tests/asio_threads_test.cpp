// SPDX-License-Identifier: Apache-2.0
//
// Adapted loops, and the threads that run their contexts.
#include "coroutine_support.hpp"
#include "tornado/asio.hpp"

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

constexpr auto never = IOLoop::MakeCurrent::never;

Future<int> count_down(int from) {
  int steps = 0;
  for (; from > 0; --from, ++steps) co_await gen::moment;
  co_return steps;
}

// Each call deeper than the last, so that frames of different threads nest.
Future<void> nest(std::string& out, char letter) {
  const test::Note note(out, letter);
  co_await gen::moment;
  if (letter < 'e') co_await nest(out, static_cast<char>(letter + 1));
  co_await gen::sleep(1h);
}

}  // namespace

TEST_SUITE("asio") {
  TEST_CASE("make_ioloop: two loops on two contexts in two threads talk to each other") {
    asio::io_context contexts[2];
    const std::unique_ptr<IOLoop> loops[2] = {make_ioloop(contexts[0], never),
                                              make_ioloop(contexts[1], never)};
    constexpr int rounds = 200;
    int received[2] = {0, 0};
    std::function<void(int, int)> serve = [&](int at, int left) {
      CHECK(&IOLoop::current() == loops[at].get());
      ++received[at];
      if (left > 0) loops[1 - at]->add_callback([&, at, left] { serve(1 - at, left - 1); });
    };
    loops[0]->add_callback([&] { serve(0, 2 * rounds - 1); });
    // Each has to run until the other is done.
    std::optional<RemotePromise<void>> done[2];
    for (int i = 0; i < 2; ++i) {
      loops[i]->make_current();
      done[i].emplace();
    }
    IOLoop::clear_current();
    std::thread threads[2];
    for (int i = 0; i < 2; ++i) {
      threads[i] = std::thread([&, i] {
        while (contexts[i].run_one() > 0) {
          if (received[i] == rounds && done[i]) {
            done[i]->set_result();
            done[i].reset();
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(received[0] == rounds);
    CHECK(received[1] == rounds);
  }

  TEST_CASE("make_ioloop: the context may be run by one thread after the other") {
    std::string out;
    asio::io_context io;
    auto loop = make_ioloop(io, never);
    loop->add_callback([&] { return nest(out, 'a'); });
    for (int i = 0; i < 10; ++i) {
      std::thread([&] {
        io.restart();
        io.poll_one();
        CHECK(IOLoop::current_or_null() == nullptr);
      }).join();
    }
    loop.reset();
    CHECK(out == "edcba");  // a callee's locals may refer to its caller's
  }

  TEST_CASE("make_ioloop: two threads in one loop's callbacks end the program, with a message") {
    const test::Child child = test::run_in_child([] {
      asio::io_context io;
      const auto loop = make_ioloop(io, never);
      const auto guard = asio::make_work_guard(io);
      std::latch never_met(2);
      loop->add_callback([&] {
        // Runs in this turn: the next one is begun by the other thread.
        loop->add_callback([] {});
        never_met.arrive_and_wait();
      });
      std::thread thread([&] { io.run(); });
      io.run();
      thread.join();
    });
    CHECK(child.aborted());
    CHECK(child.text.find("two threads run the callbacks of one IOLoop") != child.text.npos);
  }

  TEST_CASE("make_ioloop: on a strand, of a context that several threads run") {
    asio::io_context io;
    auto loop = make_ioloop(asio::make_strand(io), never);
    CHECK(&get_io_context(*loop) == &io);
    int inside = 0;  // not synchronised: that is the strand's work
    int finished = 0;
    constexpr int coroutines = 20;
    for (int i = 0; i < coroutines; ++i) {
      loop->add_callback([&, i]() -> Future<void> {
        const int steps = co_await count_down(i);
        CHECK(steps == i);
        CHECK(++inside == 1);
        CHECK(&IOLoop::current() == loop.get());
        --inside;
        co_await gen::sleep(1ms);
        ++finished;
      });
    }
    std::atomic<int> others = 0;
    for (int i = 0; i < coroutines; ++i) {
      asio::post(io, [&] {
        ++others;
        loop->add_callback([&] { ++finished; });
      });
    }
    asio::post(get_executor(*loop), [&] {
      CHECK(++inside == 1);
      --inside;
    });
    std::thread threads[3];
    for (std::thread& thread : threads) thread = std::thread([&] { io.run(); });
    for (std::thread& thread : threads) thread.join();
    CHECK(others == coroutines);
    CHECK(finished == 2 * coroutines);
    loop.reset();
  }

  TEST_CASE("add_callback_from_signal: on a strand") {
    asio::io_context io;
    const auto loop = make_ioloop(asio::make_strand(io), never);
    auto guard = std::make_optional(asio::make_work_guard(io));
    CHECK(loop->add_callback_from_signal(
        [](void* argument) { static_cast<decltype(guard)*>(argument)->reset(); }, &guard));
    std::thread threads[2];
    for (std::thread& thread : threads) thread = std::thread([&] { io.run(); });
    for (std::thread& thread : threads) thread.join();
    CHECK(!guard);
  }

  TEST_CASE("make_ioloop: on a strand, the context is destroyed first") {
    std::string out;
    auto io = std::make_unique<asio::io_context>();
    const auto loop = make_ioloop(asio::make_strand(*io), never);
    loop->add_callback([&] { return nest(out, 'a'); });
    for (int i = 0; i < 20; ++i) io->poll_one();
    loop->add_callback([] {});
    io.reset();
    CHECK(out == "edcba");
  }
}
