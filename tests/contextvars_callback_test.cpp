// SPDX-License-Identifier: Apache-2.0
//
// How context variables travel with callbacks, and between threads.
#include "loop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/contextvars.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"
#include "tornado/submit.hpp"

#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;

namespace {

const ContextVar<int> ctx_var("ctx_var");

/// What the variable has here: 0 when it was not set.
int here() { return ctx_var.get(0); }

/// Undoes at the end of a test what that sets outside of all coroutines and callbacks.
class Restore {
 public:
  Restore() : token_(ctx_var.set(0)) {}
  ~Restore() { ctx_var.reset(token_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  ContextVar<int>::Token token_;
};

}  // namespace

TEST_SUITE("contextvars") {
  // ---- Callbacks ------------------------------------------------------------------------------

  TEST_CASE("ContextVar: callbacks and timeouts have the values of the code that added them") {
    test::Loop loop;
    std::vector<int> seen;
    const auto note = [&] { seen.push_back(here()); };
    loop.add_callback([&] {
      int value = 0;
      const auto next = [&] { ctx_var.set(++value); };
      next();
      loop.add_callback(note);
      next();
      loop.spawn_callback(note);
      next();
      loop.call_later(0, note);
      next();
      loop.call_later(0s, note);
      next();
      loop.call_at(loop.time(), note);
      next();
      loop.add_timeout(0s, note);
      next();
      const Future<void> future;
      future.add_done_callback(note);
      next();
      loop.add_future(future, [&](const Future<void>&) { note(); });
      next();
      future_add_done_callback(future, note);
      next();
      future.set_result();
    });
    loop.run_until([&] { return seen.size() == 9; });
    std::vector<bool> came(10);
    for (const int value : seen) came.at(static_cast<std::size_t>(value)) = true;
    came[0] = !came[0];
    CHECK(came == std::vector<bool>(10, true));
    CHECK(here() == 0);
  }

  TEST_CASE("ContextVar: what a callback sets goes with it") {
    test::Loop loop;
    std::vector<int> seen;
    const auto sets = [&] {
      seen.push_back(here());
      ctx_var.set(5);
    };
    loop.add_callback(sets);
    loop.add_callback(sets);
    loop.call_later(0s, sets);
    const Future<void> future;
    future.add_done_callback(sets);
    future.add_done_callback(sets);
    future.set_result();
    loop.run_until([&] { return seen.size() == 5; });
    CHECK(seen == std::vector<int>(5, 0));
    CHECK(here() == 0);
  }

  TEST_CASE("ContextVar: a callback that throws takes its values with it") {
    test::Loop loop;
    const test::ExpectLog expected(log::app_log, "CustomError: thrown");
    loop.add_callback([] {
      ctx_var.set(5);
      throw CustomError("thrown");
    });
    int seen = -1;
    loop.add_callback([&] { seen = here(); });
    loop.iterate(2);
    CHECK(seen == 0);
    CHECK(here() == 0);
  }

  TEST_CASE("ContextVar: what a callback adds, or calls, has what the callback has set") {
    test::Loop loop;
    std::vector<int> seen;
    const auto coroutine = [&]() -> Future<void> {
      seen.push_back(here());
      ctx_var.set(7);
      co_await gen::moment;
      seen.push_back(here());
    };
    loop.add_callback([&] {
      ctx_var.set(5);
      loop.add_callback([&] { seen.push_back(here()); });
      static_cast<void>(coroutine());
      CHECK(here() == 5);
      ctx_var.set(6);
    });
    loop.iterate(3);
    CHECK(seen == std::vector<int>{5, 5, 7});
  }

  TEST_CASE("ContextVar: a callback that is a coroutine keeps its values through suspensions") {
    test::Loop loop;
    std::vector<int> seen;
    loop.add_callback([&] {
      ctx_var.set(1);
      loop.add_callback([&]() -> Future<void> {
        seen.push_back(here());
        co_await gen::moment;
        seen.push_back(here());
      });
      ctx_var.set(2);
    });
    loop.run_until([&] { return seen.size() == 2; });
    CHECK(seen == std::vector<int>{1, 1});
  }

  TEST_CASE(
      "ContextVar: a handler has the values of who added it, and what it sets stays its own") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    std::vector<int> seen;
    loop.add_callback([&] {
      ctx_var.set(1);
      loop.add_handler(
          ends[0],
          [&](native_handle_type fd, int) {
            seen.push_back(here());
            ctx_var.set(here() + 10);
            if (seen.size() == 3) loop.remove_handler(fd);
          },
          IOLoop::READ);
      ctx_var.set(2);
      CHECK(::write(ends[1], "x", 1) == 1);  // never read: it comes again and again
    });
    loop.run_until([&] { return seen.size() == 3; });
    CHECK(seen == std::vector<int>{1, 11, 21});
    CHECK(here() == 0);
    ::close(ends[0]);
    ::close(ends[1]);
  }

  TEST_CASE("ContextVar: what was set outside of callbacks is there in those added after it") {
    const Restore restore;
    test::Loop loop;
    ctx_var.set(1);
    int added = 0;
    loop.add_callback([&] {
      added = here();
      ctx_var.set(2);
    });
    CHECK(loop.run([]() -> Future<int> { co_return here(); }) == 1);
    CHECK(added == 1);
    CHECK(here() == 1);
    loop.run([]() -> Future<void> {
      ctx_var.set(3);
      co_return;
    });
    CHECK(here() == 1);
  }

  // ---- Threads --------------------------------------------------------------------------------

  TEST_CASE("ContextVar: each thread sees what was set there") {
    const Restore restore;
    ctx_var.set(1);
    int there = -1;
    int there_after = -1;
    std::thread thread([&] {
      there = here();
      ctx_var.set(2);
      there_after = here();
    });
    thread.join();
    CHECK(there == 0);
    CHECK(there_after == 2);
    CHECK(here() == 1);
  }

  TEST_CASE("ContextVar: a callback added from another thread carries that thread's values") {
    const Restore restore;
    test::Loop loop;
    ctx_var.set(1);
    int seen = 0;
    std::thread thread([&] {
      ctx_var.set(2);
      loop.add_callback([&] {
        seen = here();
        ctx_var.set(3);
        loop.stop();
      });
      ctx_var.set(4);
    });
    loop.wait();
    thread.join();
    CHECK(seen == 2);
    CHECK(here() == 1);
  }

  TEST_CASE("ContextVar: IOLoop.submit carries the values of the thread that submits") {
    test::Loop loop;
    int answer = 0;
    std::thread thread([&] {
      ctx_var.set(2);
      const auto coroutine = []() -> Future<int> {
        co_await gen::moment;
        co_return here();
      };
      answer = loop.submit(coroutine).get();
      loop.add_callback([&] { loop.stop(); });
    });
    loop.wait();
    thread.join();
    CHECK(answer == 2);
  }

  TEST_CASE("ContextVar: values that many threads and their callbacks share") {
    test::Loop loop;
    constexpr int threads = 4;
    constexpr int each = 500;
    int right = 0;
    int came = 0;
    std::vector<std::thread> all;
    for (int t = 1; t <= threads; ++t) {
      all.emplace_back([&, t] {
        ctx_var.set(t);
        for (int i = 0; i < each; ++i) {
          loop.add_callback([&, t] {
            right += here() == t ? 1 : 0;
            ctx_var.set(-1);
            if (++came == threads * each) loop.stop();
          });
          if (here() != t) std::terminate();
        }
      });
    }
    loop.wait();
    for (auto& thread : all) thread.join();
    CHECK(right == threads * each);
  }
}
