// SPDX-License-Identifier: Apache-2.0
#include "tornado/gen.hpp"

#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/ioloop.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::add_one_async;
using test::async_exception;
using test::CustomError;
using test::error_of;
using test::Note;

TEST_SUITE("gen") {
  // ---- Coroutines -----------------------------------------------------------------------------

  TEST_CASE("coroutine: runs when called, to its first wait, and goes on from the loop") {
    test::Loop loop;
    std::string order;
    const Future<void> gate;
    const auto f = [&]() -> Future<void> {
      order += "a";
      co_await gate;
      order += "d";
    };
    const Future<void> future = f();
    order += "b";
    CHECK_FALSE(future.done());
    gate.set_result();
    order += "c";
    loop.iterate();
    CHECK(order == "abcd");
    CHECK(future.done());
  }

  TEST_CASE("coroutine: one that does not wait is done when the call returns, and needs no loop") {
    bool has_loop = true;
    int result = 0;
    std::thread thread([&] {
      const auto inner = []() -> Future<int> { co_return 20; };
      const auto outer = [&]() -> Future<int> {
        const int a = co_await inner();
        const int b = co_await make_ready_future(22);
        co_return a + b;
      };
      const Future<int> future = outer();
      if (future.done()) result = future.result();
      has_loop = IOLoop::current_or_null() != nullptr;
    });
    thread.join();
    CHECK(result == 42);
    CHECK_FALSE(has_loop);
  }

  TEST_CASE("coroutine: its locals and parameters go when it ends, the result stays") {
    test::Loop loop;
    std::string order;
    const auto f = [&](Note parameter) -> Future<std::string> {
      const Note local(order, 'l');
      co_await gen::moment;
      order += "r";
      static_cast<void>(parameter);
      co_return "result";
    };
    const Future<std::string> future = f(Note(order, 'p'));
    CHECK(order.empty());
    loop.iterate(2);
    CHECK(future.done());
    CHECK(order == "rlp");
    CHECK(future.result() == "result");
  }

  TEST_CASE("coroutine: its Future is done only after the locals have gone") {
    test::Loop loop;
    std::optional<Future<int>> future;
    bool done = true;
    class Looks {
     public:
      Looks(std::optional<Future<int>>& f, bool& d) : future_(f), done_(d) {}
      Looks(const Looks&) = delete;
      Looks& operator=(const Looks&) = delete;
      ~Looks() { done_ = future_->done(); }

     private:
      std::optional<Future<int>>& future_;
      bool& done_;
    };
    const auto f = [&]() -> Future<int> {
      const Looks looks(future, done);
      co_await gen::moment;
      co_return 1;
    };
    future = f();
    loop.iterate(2);
    CHECK_FALSE(done);
    CHECK(future->done());
  }

  TEST_CASE("coroutine: goes on though nobody holds its Future (G14)") {
    test::Loop loop;
    bool finished = false;
    const auto f = [&]() -> Future<void> {
      co_await gen::moment;
      co_await gen::sleep(1ms);
      finished = true;
      loop.stop();
    };
    f();
    loop.wait();
    CHECK(finished);
  }

  TEST_CASE("coroutine: resumed after set_result has returned, in the order of waiting (G1)") {
    test::Loop loop;
    std::string order;
    const Future<int> future;
    const auto f = [&](char letter) -> Future<void> {
      co_await future;
      order += letter;
    };
    f('b');
    f('c');
    future.add_done_callback([&] { order += "d"; });
    f('e');
    loop.add_callback([&] {
      future.set_result(1);
      order += "a";
    });
    loop.iterate(2);
    CHECK(order == "abcde");
  }

  TEST_CASE("coroutine: belongs to the loop that was current at its first suspension") {
    test::Loop first;
    IOLoop second(IOLoop::MakeCurrent::never);
    std::vector<IOLoop*> seen;
    const Future<void> gate;
    const auto f = [&]() -> Future<void> {
      co_await gate;
      seen.push_back(&IOLoop::current());
      co_await gen::moment;
      seen.push_back(&IOLoop::current());
    };
    second.run_sync([&] { f(); });
    gate.set_result();
    first.iterate(3);
    CHECK(seen.empty());
    second.run_sync([]() -> Future<void> { co_await gen::sleep(1ms); });
    CHECK(seen == std::vector<IOLoop*>{&second, &second});
  }

  TEST_CASE("co_await: a Future that is handed over gives the value itself, moved if it can be") {
    struct Counting {
      int* copies;
      explicit Counting(int& count) : copies(&count) {}
      Counting(const Counting& other) : copies(other.copies) { ++*copies; }
      Counting(Counting&&) = default;
      Counting& operator=(const Counting&) = delete;
      Counting& operator=(Counting&&) = delete;
      ~Counting() = default;
    };
    test::Loop loop;
    int copies = 0;
    loop.run([&]() -> Future<void> {
      const auto produce = [&]() -> Future<Counting> {
        co_await gen::moment;
        co_return Counting(copies);
      };
      const Counting moved = co_await produce();
      CHECK(moved.copies == &copies);
      CHECK(copies == 0);
      Future<Counting> shared = produce();
      const Future<Counting> other_handle = shared;
      const Counting copied = co_await std::move(shared);
      CHECK(copied.copies == &copies);
      CHECK(copies == 1);
      other_handle.result();
      const Future<Counting> kept = produce();
      const Counting& looked_at = co_await kept;
      CHECK(&looked_at == &kept.result());
      CHECK(copies == 1);
    });
  }

  TEST_CASE("co_await: what only moves can be taken once") {
    test::Loop loop;
    loop.run([&]() -> Future<void> {
      Future<std::unique_ptr<int>> future;
      const Future<std::unique_ptr<int>> other = future;
      future.set_result(std::make_unique<int>(4));
      const std::unique_ptr<int>& looked_at = co_await other;
      CHECK(*looked_at == 4);
      const std::unique_ptr<int> taken = co_await std::move(future);
      CHECK(*taken == 4);
      CHECK_THROWS_AS(other.result(), InvalidStateError);
      Future<std::unique_ptr<int>> again = other;
      const std::string error = co_await error_of(std::move(again));
      CHECK(error.find("moved out") != error.npos);
    });
  }

  TEST_CASE("co_await: the awaited variable may be assigned to meanwhile") {
    test::Loop loop;
    Future<int> future;
    const Future<int> original = future;
    int seen = 0;
    const auto f = [&]() -> Future<void> {
      const int& value = co_await future;
      seen = value;
    };
    f();
    future = make_ready_future(2);
    original.set_result(1);
    loop.iterate(2);
    CHECK(seen == 1);
  }

  TEST_CASE("co_await: a ready Future a million times takes bounded stack and memory (G16)") {
    test::Loop loop;
    const int count = test::sanitized ? 20'000 : 1'000'000;
    const auto one = []() -> Future<int> { co_return 1; };
    const int sum = loop.run([&]() -> Future<int> {
      const Future<int> ready = make_ready_future(1);
      int total = 0;
      for (int i = 0; i < count; ++i) {
        total += co_await ready;
        total += co_await one();
      }
      co_return total;
    });
    CHECK(sum == 2 * count);
  }

  TEST_CASE("co_await: a chain of thousands that end together does not pile up the stack (G16)") {
    test::Loop loop;
    const Future<int> gate;
    std::function<Future<int>(int)> f = [&](int depth) -> Future<int> {
      if (depth == 0) co_return co_await gate;
      const int value = co_await f(depth - 1);
      co_return value + 1;
    };
    const int depth = test::sanitized ? 500 : 5000;
    const Future<int> future = f(depth);
    gate.set_result(0);
    // Each is resumed by the loop, from the innermost out.
    CHECK(loop.run([=]() -> Future<int> { co_return co_await future; }) == depth);
  }

  TEST_CASE("co_await: two coroutines that wake each other for ever let the loop do the rest") {
    test::Loop loop;
    Future<void> ping;
    Future<void> pong;
    bool stop = false;
    int rounds = 0;
    const auto player = [&](Future<void>& mine, Future<void>& other) -> Future<void> {
      while (!stop) {
        co_await mine;
        mine = Future<void>();
        ++rounds;
        other.set_result();
      }
    };
    player(ping, pong);
    player(pong, ping);
    loop.call_later(1ms, [&] {
      stop = true;
      loop.stop();
    });
    ping.set_result();
    loop.wait();
    CHECK(rounds > 0);
    loop.iterate(2);
  }

  TEST_CASE(
      "coroutine: an exception before the first suspension arrives through the Future (G15)") {
    test::Loop loop;
    const auto f = [](bool fail) -> Future<int> {
      if (fail) throw CustomError("at once");
      co_return 1;
    };
    const Future<int> future = f(true);
    CHECK(future.done());
    CHECK_THROWS_WITH_AS(future.result(), "at once", CustomError);
    CHECK(f(false).result() == 1);
  }

  TEST_CASE("coroutine: exceptions travel unchanged") {
    test::Loop loop;
    const auto inner = []() -> Future<void> {
      co_await gen::moment;
      throw std::string("not a std::exception");
    };
    const auto outer = [&]() -> Future<void> { co_await inner(); };
    CHECK_THROWS_AS(loop.run(outer), std::string);

    const std::exception_ptr original = std::make_exception_ptr(CustomError("the same object"));
    const Future<int> failed = async_exception(original);
    loop.iterate(2);
    CHECK(failed.exception() == original);
  }

  TEST_CASE("coroutine: what a local's destructor leaves behind an exception is the exception") {
    test::Loop loop;
    const auto f = []() -> Future<std::string> {
      struct Thrower {
        Thrower() {}
        ~Thrower() noexcept(false) { throw CustomError("from a destructor"); }
      };
      const Thrower thrower;
      co_return "value that is given up";
    };
    CHECK_THROWS_WITH_AS(f().result(), "from a destructor", CustomError);
  }

  TEST_CASE("coroutine: large frames are not kept for their results") {
    test::Loop loop;
    const auto f = [](int n) -> Future<int> {
      std::array<char, 65536> large;  // NOLINT: filled next
      large.fill(static_cast<char>(n));
      co_await gen::moment;
      co_return large[static_cast<std::size_t>(n)];
    };
    loop.run([&]() -> Future<void> {
      std::vector<Future<int>> results;
      for (int i = 0; i < 100; ++i) {
        Future<int> result = f(i);
        const int value = co_await result;
        CHECK(value == i);
        results.push_back(std::move(result));
      }
      for (int i = 0; i < 100; ++i) CHECK(results[static_cast<std::size_t>(i)].result() == i);
    });
    // And of any size around the limit of what is recycled.
    const auto sized = [&]<std::size_t Size>(std::integral_constant<std::size_t, Size>) {
      const auto g = []() -> Future<std::string> {
        std::array<char, Size> local;  // NOLINT
        local.fill('x');
        co_await gen::moment;
        co_return std::string(1, local.back());
      };
      CHECK(loop.run(g) == "x");
    };
    sized(std::integral_constant<std::size_t, 1>());
    sized(std::integral_constant<std::size_t, 3000>());
    sized(std::integral_constant<std::size_t, 3700>());
    sized(std::integral_constant<std::size_t, 3800>());
    sized(std::integral_constant<std::size_t, 3900>());
    sized(std::integral_constant<std::size_t, 4000>());
    sized(std::integral_constant<std::size_t, 4096>());
    sized(std::integral_constant<std::size_t, 10000>());
  }

  TEST_CASE("coroutine: a parameter whose copy starts a coroutine") {
    struct Starts {
      std::vector<Future<int>>* started;
      int depth;
      std::vector<Future<std::array<int, 100>>> kept;
      Starts(std::vector<Future<int>>& list, int d) : started(&list), depth(d) {}
      Starts(const Starts& other) : started(other.started), depth(other.depth), kept(other.kept) {
        if (depth > 0) started->push_back(run(Starts(*started, depth - 1), depth));
        // Clang puts this one's frame on the stack, without asking for memory; so its result must
        // not come to lie in what was allocated for the coroutine whose parameter this is.
        kept.push_back(without_memory(depth));
      }
      Starts& operator=(const Starts&) = delete;
      ~Starts() = default;
      static Future<int> run(Starts parameter, int value) {
        co_await gen::moment;
        CHECK_FALSE(parameter.kept.empty());
        for (const auto& each : parameter.kept) {
          const auto& numbers = each.result();
          CHECK(std::count(numbers.begin(), numbers.end(), parameter.depth) == 100);
        }
        co_return value * 10 + parameter.depth;
      }
      static Future<int> at_once(Starts parameter, int value) { co_return value + parameter.depth; }
      static Future<std::array<int, 100>> without_memory(int value) {
        std::array<int, 100> result{};
        result.fill(value);
        co_return result;
      }
    };
    test::Loop loop;
    std::vector<Future<int>> started;
    const Starts argument(started, 3);
    const Future<int> waits = Starts::run(argument, 7);
    const Future<int> ready = Starts::at_once(argument, 7);
    CHECK(ready.result() == 10);
    loop.iterate(2);
    CHECK(waits.result() == 73);
    CHECK(started.size() > 4);
    for (const Future<int>& future : started) {
      CHECK(future.done());
      CHECK(future.result() % 10 == future.result() / 10 - 1);
    }
  }

  TEST_CASE("coroutine: a parameter's copy that throws leaves from the call, and harms nothing") {
    struct Throws {
      int copies_left;
      explicit Throws(int left) : copies_left(left) {}
      Throws(const Throws& other) : copies_left(other.copies_left - 1) {
        if (copies_left < 0) throw CustomError("not copied");
      }
      Throws& operator=(const Throws&) = delete;
      ~Throws() = default;
    };
    test::Loop loop;
    const auto f = [](Throws parameter, int value) -> Future<int> {
      co_await gen::moment;
      co_return value + parameter.copies_left;
    };
    const auto outer = [&](const Throws& argument) -> Future<int> {
      co_await gen::moment;
      co_return co_await f(argument, 5);
    };
    for (int i = 0; i < 3; ++i) {
      const Throws never(0);
      CHECK_THROWS_WITH_AS(f(never, 5), "not copied", CustomError);
      const Throws once(1);  // for the parameter, but not for the frame
      CHECK_THROWS_WITH_AS(f(once, 5), "not copied", CustomError);
      CHECK_THROWS_WITH_AS(loop.run([&] { return outer(once); }), "not copied", CustomError);
      const Throws twice(2);
      CHECK(loop.run([&] { return outer(twice); }) == 5);
    }
  }

  TEST_CASE("coroutine: when there is no memory for the frame, bad_alloc leaves from the call") {
    if (test::sanitized) return;  // they need more address space than a limit could leave
    const test::Child child = test::run_in_child([] {
      const rlimit address_space{512 << 20, 512 << 20};
      ::setrlimit(RLIMIT_AS, &address_space);
      // Through a pointer, or the compiler might put the frame on the stack.
      static Future<int> (*volatile too_large)(int) = +[](int value) -> Future<int> {
        std::array<char, std::size_t{1} << 30> large;  // NOLINT
        static char* volatile used = nullptr;
        used = large.data();
        co_await gen::moment;
        co_return value + (used == large.data() ? 1 : 0);
      };
      test::Loop loop;
      for (int i = 0; i < 3; ++i) {
        bool failed = false;
        try {
          too_large(1);
        } catch (const std::bad_alloc&) {
          failed = true;
        }
        const int result = loop.run([] { return add_one_async(3); });
        if (!failed || result != 4) ::_exit(1);
      }
    });
    CHECK_MESSAGE(child.succeeded(), child.text);
  }

  Future<bool> awaited_condition() {
    co_await gen::moment;
    co_return true;
  }

  // g++ 12.0 to 12.2 lay out the frame of this function wrongly.
  Future<void> waits_in_a_condition(bool& passed) {
    if (co_await awaited_condition()) passed = true;  // NOLINT(co_await)
  }

  TEST_CASE(
      "coroutine: a frame that the compiler laid out wrongly is told of, not run (GCC PR106188)") {
    const test::Child child = test::run_in_child([] {
      test::Loop loop;
      bool passed = false;
      loop.run([&] { return waits_in_a_condition(passed); });
      if (!passed) std::abort();
    });
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ == 12 && __GNUC_MINOR__ < 3
    CHECK(child.aborted());
    CHECK_MESSAGE(
        child.text.find("Give the awaited value a name first: `const bool ok = co_await f(); if") !=
            child.text.npos,
        child.text);
#else
    CHECK_MESSAGE(child.succeeded(), child.text);
#endif
  }

  TEST_CASE("co_await: the forms that are safe on every compiler") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto next = [](int n) -> Future<std::optional<int>> {
        co_await gen::moment;
        if (n == 3) co_return std::nullopt;
        co_return n;
      };
      int n = 0;
      while (auto item = co_await next(n)) ++n;
      CHECK(n == 3);
      const bool ok = co_await awaited_condition();
      if (ok) ++n;
      if (auto again = co_await awaited_condition(); again) ++n;
      CHECK(n == 5);
    });
  }

  // ---- moment, sleep --------------------------------------------------------------------------

  TEST_CASE("gen.moment: gives exactly one iteration (G13)") {
    test::Loop loop;
    std::string order;
    loop.run([&]() -> Future<void> {
      loop.add_callback([&] {
        order += "a";
        loop.add_callback([&] { order += "c"; });
      });
      co_await gen::moment;
      order += "b";
      co_await gen::moment;
      order += "d";
    });
    CHECK(order == "abcd");
  }

  TEST_CASE("gen.sleep: of no length, or a negative one, lets others run first (G13)") {
    test::Loop loop;
    std::string order;
    loop.run([&]() -> Future<void> {
      loop.add_callback([&] { order += "a"; });
      co_await gen::sleep(0s);
      order += "b";
      loop.add_callback([&] { order += "c"; });
      co_await gen::sleep(-1h);
      order += "d";
      co_await gen::sleep(IOLoop::Clock::now() - 1h);
      order += "e";
    });
    CHECK(order == "abcde");
  }

  TEST_CASE("gen.sleep: NaN is an error from the call") {
    const std::chrono::duration<double> not_a_number(std::numeric_limits<double>::quiet_NaN());
    CHECK_THROWS_AS(static_cast<void>(gen::sleep(not_a_number)), std::invalid_argument);
  }

  TEST_CASE("gen.sleep: many, each at its time, in the order of the deadlines") {
    test::Loop loop;
    std::string order;
    const auto begin = IOLoop::Clock::now();
    const auto f = [&](char name, std::chrono::milliseconds length) -> Future<void> {
      co_await gen::sleep(begin + length);
      order += name;
    };
    loop.run([&]() -> Future<void> {
      const Future<void> c = f('c', 9ms);
      const Future<void> a = f('a', 1ms);
      const Future<void> d = f('d', 9ms);
      const Future<void> b = f('b', 5ms);
      co_await gen::multi(a, b, c, d);
    });
    CHECK(order == "abcd");
  }
}
