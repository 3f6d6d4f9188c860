// SPDX-License-Identifier: Apache-2.0
#include "tornado/asyncgen.hpp"

#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/ioloop.hpp"

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using gen::AsyncGenerator;
using test::Note;
using test::outcome;

namespace {

AsyncGenerator<int> count_to(int last) {
  for (int i = 1; i <= last; ++i) co_yield i;
}

/// Gives what the gates are completed with, for ever.
AsyncGenerator<int> from_gates(std::vector<Future<int>>& gates) {
  for (;;) {
    const Future<int> gate;
    gates.push_back(gate);
    const int value = co_await gate;
    co_yield value;
  }
}

/// Writes letters when it begins, when its local goes and when its parameter does; gives `gate`'s
/// value, then waits for ever.
AsyncGenerator<int> noisy(std::string& out, Note, Future<int> gate) {
  const Note local(out, 'l');
  out += 'b';
  const int value = co_await gate;
  co_yield value;
  co_await gen::sleep(1h);
  out += '!';
}
AsyncGenerator<int> noisy(std::string& out, const Future<int>& gate) {
  return noisy(out, Note(out, 'p'), gate);
}

template <class T>
Future<std::vector<T>> collect(AsyncGenerator<T> values) {
  std::vector<T> all;
  while (auto value = co_await values.next()) all.push_back(std::move(*value));
  co_return all;
}

}  // namespace

TEST_SUITE("asyncgen") {
  TEST_CASE("AsyncGenerator: begins when the first value is asked for, and goes on at each next") {
    std::string out;
    const auto letters = [&out]() -> AsyncGenerator<char> {
      out += 'b';
      co_yield 'x';
      out += 'm';
      co_yield 'y';
      out += 'e';
    };
    auto values = letters();
    CHECK(out.empty());
    CHECK(values.next().result() == 'x');
    CHECK(out == "b");
    CHECK(values.next().result() == 'y');
    CHECK(out == "bm");
    CHECK(values.next().result() == std::nullopt);
    CHECK(out == "bme");
    CHECK(values.next().result() == std::nullopt);
  }

  TEST_CASE("AsyncGenerator: its values in their order, waiting or not") {
    test::Loop loop;
    const auto slowly = [](int last) -> AsyncGenerator<int> {
      for (int i = 1; i <= last; ++i) {
        if (i % 2 == 0) co_await gen::moment;
        co_yield i;
      }
      co_await gen::moment;
    };
    const std::vector<int> expected{1, 2, 3, 4, 5};
    CHECK(loop.run([&] { return collect(slowly(5)); }) == expected);
    CHECK(loop.run([&] { return collect(count_to(5)); }) == expected);
    CHECK(loop.run([&] { return collect(count_to(0)); }).empty());
  }

  TEST_CASE("AsyncGenerator: an error comes once, and is the end") {
    test::Loop loop;
    std::string out;
    for (const bool waits : {false, true}) {
      out.clear();
      const auto failing = [&out](bool wait, Note) -> AsyncGenerator<int> {
        const Note local(out, 'l');
        co_yield 1;
        if (wait) co_await gen::moment;
        throw std::runtime_error("broken");
      };
      auto values = failing(waits, Note(out, 'p'));
      CHECK(test::result(loop, values.next()) == 1);
      const auto second = values.next();
      loop.run_until([&] { return second.done(); });
      CHECK(outcome(second) == "broken");
      CHECK(out == "lp");
      CHECK(values.next().result() == std::nullopt);
      CHECK(values.next().result() == std::nullopt);
    }
  }

  TEST_CASE("AsyncGenerator: an error before the first value comes from next, not from the call") {
    const auto failing = []() -> AsyncGenerator<int> {
      throw std::runtime_error("at once");
      co_yield 1;
    };
    auto values = failing();
    CHECK(outcome(values.next()) == "at once");
    CHECK(values.next().result() == std::nullopt);
  }

  TEST_CASE("AsyncGenerator.next: throws while the last one is pending, which goes on") {
    test::Loop loop;
    std::vector<Future<int>> gates;
    auto values = from_gates(gates);
    const auto first = values.next();
    CHECK_THROWS_AS(static_cast<void>(values.next()), std::logic_error);
    gates[0].set_result(5);
    CHECK(test::result(loop, first) == 5);
    const auto second = values.next();
    gates[1].set_result(6);
    CHECK(test::result(loop, second) == 6);
  }

  TEST_CASE("AsyncGenerator: values that only move, what a value can be made of, copies") {
    test::Loop loop;
    const auto pointers = []() -> AsyncGenerator<std::unique_ptr<int>> {
      co_yield std::make_unique<int>(1);
      auto second = std::make_unique<int>(2);
      co_yield std::move(second);
      CHECK(second == nullptr);
    };
    const auto all = loop.run([&] { return collect(pointers()); });
    REQUIRE(all.size() == 2);
    CHECK(*all[0] + *all[1] == 3);
    const auto texts = []() -> AsyncGenerator<std::string> {
      co_yield "literal";
      const std::string kept = "kept";
      co_yield kept;
      co_yield kept + "!";
    };
    CHECK(loop.run([&] { return collect(texts()); }) ==
          std::vector<std::string>{"literal", "kept", "kept!"});
  }

  TEST_CASE("AsyncGenerator: when a value cannot be made, that is the generator's exception") {
    struct Picky {
      explicit Picky(int n) : number(n) {
        if (n == 0) throw std::runtime_error("no zero");
      }
      int number;
    };
    const auto make = []() -> AsyncGenerator<Picky> {
      try {
        co_yield 0;
      } catch (const std::runtime_error&) {
      }
      co_yield 7;
      co_yield 0;
    };
    auto values = make();
    CHECK(values.next().result()->number == 7);
    CHECK(outcome(values.next()) == "no zero");
  }

  TEST_CASE("AsyncGenerator: a million values take bounded stack") {
    test::Loop loop;
    const int count = test::sanitized ? 20'000 : 1'000'000;
    const long long sum = loop.run([&]() -> Future<long long> {
      auto values = count_to(count);
      long long total = 0;
      while (const auto value = co_await values.next()) total += *value;
      co_return total;
    });
    CHECK(sum == static_cast<long long>(count) * (count + 1) / 2);
  }

  TEST_CASE("AsyncGenerator: a generator that takes from another") {
    test::Loop loop;
    const auto squares = [](AsyncGenerator<int> of) -> AsyncGenerator<int> {
      while (const auto value = co_await of.next()) {
        co_await gen::moment;
        co_yield *value** value;
      }
    };
    CHECK(loop.run([&] { return collect(squares(squares(count_to(3)))); }) ==
          std::vector<int>{1, 16, 81});
  }

  TEST_CASE("AsyncGenerator: whatever a coroutine may await") {
    test::Loop loop;
    auto [server, client] = test::make_iostream_pair();
    const auto all_sorts = [&]() -> AsyncGenerator<std::string> {
      co_await gen::moment;
      co_await gen::sleep(0s);
      const Future<int> ready = make_ready_future(1);
      const int& kept = co_await ready;
      co_yield std::to_string(kept);
      const auto [one, two] = co_await gen::multi(make_ready_future(1), make_ready_future(2));
      co_yield std::to_string(one + two);
      std::vector<Future<void>> some(3, gen::sleep(0s));
      co_await std::move(some);
      client.write("line\n");
      std::string line = co_await gen::with_timeout(1h, server.read_until("\n"));
      co_yield std::move(line);
      const auto late = gen::with_timeout(0s, server.read_until("\n"));
      const auto ended = co_await gen::settled(late);
      CHECK_FALSE(ended.cancelled());
      std::string how = outcome(late);
      co_yield std::move(how);
      client.write("again\n");
    };
    CHECK(loop.run([&] { return collect(all_sorts()); }) ==
          std::vector<std::string>{"1", "3", "line\n", "Timeout"});
  }

  // ---- Cancelling -------------------------------------------------------------------------------

  TEST_CASE("AsyncGenerator.next: cancelled, it ends what the coroutine waits for, and that") {
    test::Loop loop;
    std::string out;
    const Future<int> gate;
    auto values = noisy(out, gate);
    const auto next = values.next();
    CHECK(next.cancel());
    loop.run_until([&] { return next.done(); });
    CHECK(next.cancelled());
    CHECK(out == "blp");
    CHECK(gate.cancelled());
    CHECK(values.next().result() == std::nullopt);
  }

  TEST_CASE("AsyncGenerator.next: cancelled, a generator may decline, and gives its value") {
    test::Loop loop;
    const auto stubborn = []() -> AsyncGenerator<int> {
      for (int i = 1;; ++i) {
        Future<void> never;
        try {
          co_await never;
        } catch (const CancelledError&) {
        }
        co_await gen::moment;
        co_yield i;
      }
    };
    auto values = stubborn();
    for (int i = 1; i <= 2; ++i) {
      const auto next = values.next();
      next.cancel();
      CHECK(test::result(loop, next) == i);
    }
  }

  TEST_CASE("AsyncGenerator.next: cancelled when the value is on its way: that is not lost") {
    test::Loop loop;
    std::vector<Future<int>> gates;
    auto values = from_gates(gates);
    const auto first = values.next();
    gates[0].set_result(1);
    CHECK(first.cancel());
    CHECK(test::result(loop, first) == 1);
    CHECK_FALSE(first.cancel());
    // The request was not the generator's: its next wait is not cancelled.
    const auto second = values.next();
    loop.iterate(3);
    gates[1].set_result(2);
    CHECK(test::result(loop, second) == 2);
  }

  TEST_CASE(
      "AsyncGenerator.next: a consumer cancelled then has the value, and its next wait ends") {
    test::Loop loop;
    std::vector<Future<int>> gates;
    auto values = from_gates(gates);
    int got = 0;
    const auto consumer = [&]() -> Future<void> {
      const auto first = co_await values.next();
      got = *first;
      const auto second = co_await values.next();
      got = *second;
    };
    const Future<void> future = consumer();
    gates[0].set_result(1);
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(got == 1);
    CHECK(future.cancelled());
  }

  // ---- The handle -------------------------------------------------------------------------------

  TEST_CASE("AsyncGenerator: destroying the handle before the first next destroys the parameters") {
    std::string out;
    { const auto unused = noisy(out, Future<int>()); }
    CHECK(out == "p");
  }

  TEST_CASE("AsyncGenerator: destroying the handle at a value destroys the coroutine there") {
    std::string out;
    {
      auto values = noisy(out, make_ready_future(3));
      CHECK(values.next().result() == 3);
      CHECK(out == "b");
    }
    CHECK(out == "blp");
  }

  TEST_CASE("AsyncGenerator: destroying the handle while it waits cancels the pending next") {
    test::Loop loop;
    std::string out;
    const Future<int> gate;
    std::optional<Future<std::optional<int>>> next;
    {
      auto values = noisy(out, gate);
      next = values.next();
      loop.iterate();
    }
    CHECK(out == "blp");
    CHECK(next->cancelled());
    CHECK_FALSE(gate.done());  // it may be somebody else's
    gate.set_result(1);
    loop.iterate(2);
    CHECK(out == "blp");
  }

  TEST_CASE("AsyncGenerator: destroying the handle destroys what only its coroutine waits for") {
    test::Loop loop;
    std::string out;
    const auto called = [&out]() -> Future<int> {
      const Note local(out, 'c');
      co_await gen::sleep(1h);
      co_return 1;
    };
    {
      auto values = noisy(out, called());
      const auto next = values.next();
      loop.iterate();
    }
    // The parameter was made first; the generator's frame came after it.
    CHECK(out == "blpc");
  }

  TEST_CASE("AsyncGenerator: moved, and moved from, assigning destroys what was there") {
    std::string out;
    auto values = noisy(out, make_ready_future(1));
    CHECK(values.next().result() == 1);
    AsyncGenerator<int> other = count_to(3);
    CHECK(other.next().result() == 1);
    values = std::move(other);
    CHECK(out == "blp");
    CHECK(values.next().result() == 2);
    CHECK(other.next().result() == std::nullopt);
    AsyncGenerator<int>& same = values;
    values = std::move(same);
  }

  /// A generator whose own body lets go of its handle, and then does `f`.
  template <class F>
  std::string let_go_by_body(F f) {
    std::string out;
    std::optional<AsyncGenerator<int>> handle;
    test::Loop loop;
    const auto make = [&](Note) -> AsyncGenerator<int> {
      const Note local(out, 'l');
      handle.reset();
      out += '.';
      for (auto inner = f(); const auto value = co_await inner.next();) co_yield *value;
      out += '!';
    };
    handle.emplace(make(Note(out, 'p')));
    const auto next = handle->next();
    loop.iterate(3);
    CHECK(next.done());
    CHECK_FALSE(handle.has_value());
    out += ' ';
    out += outcome(next);
    return out;
  }

  TEST_CASE("AsyncGenerator: whose own body destroys the handle ends at its next wait or value") {
    CHECK(let_go_by_body([] { return count_to(2); }) == ".lp value");
    CHECK(let_go_by_body([] { return count_to(0); }) == ".!lp value");
    CHECK(let_go_by_body([]() -> AsyncGenerator<int> {
            co_await gen::sleep(1h);
            co_yield 1;
          }) == ".lp cancelled");
    CHECK(let_go_by_body([]() -> AsyncGenerator<int> {
            throw std::runtime_error("broken");
            co_yield 1;
          }) == ".lp broken");
  }

  TEST_CASE("AsyncGenerator: destroyed by what it waits for") {
    test::Loop loop;
    std::string out;
    std::optional<AsyncGenerator<int>> handle;
    const auto called = [&]() -> Future<int> {
      co_await gen::moment;
      handle.reset();
      out += '.';
      co_return 1;
    };
    handle.emplace(noisy(out, called()));
    const auto next = handle->next();
    loop.run_until([&] { return next.done(); });
    loop.iterate(2);
    CHECK(out == "b.lp");
  }

  // ---- The loop ---------------------------------------------------------------------------------

  enum class At { start, value, wait, end };

  TEST_CASE("IOLoop.close: destroys a generator that has waited, wherever it is suspended") {
    for (const At at : {At::start, At::value, At::wait, At::end}) {
      for (const bool outlives : {false, true}) {
        CAPTURE(static_cast<int>(at));
        CAPTURE(outlives);
        std::string out;
        std::optional<AsyncGenerator<int>> outside;
        std::optional<Future<std::optional<int>>> next;
        {
          test::Loop loop;
          const Future<int> gate;
          AsyncGenerator<int> inside = noisy(out, gate);
          if (at == At::end) inside = count_to(0);
          if (at != At::start) {
            next = inside.next();
            loop.iterate();
          }
          if (at == At::value) {
            gate.set_result(1);
            loop.iterate();
          }
          if (outlives) outside.emplace(std::move(inside));
          loop.close();
          if (at == At::value || at == At::wait) CHECK(out == "blp");
          if (at == At::wait) CHECK(next->cancelled());
        }
        // Unstarted it knows of no loop.
        if (at == At::start) CHECK(out == (outlives ? "" : "p"));
        if (outlives && at != At::start) CHECK(outside->next().result() == std::nullopt);
        outside.reset();
        CHECK(out == (at == At::start ? "p" : at == At::end ? "p" : "blp"));
      }
    }
  }

  TEST_CASE("IOLoop.close: destroys a generator whose own body let go of the handle") {
    std::string out;
    std::optional<AsyncGenerator<int>> handle;
    {
      test::Loop loop;
      const auto make = [&](Note) -> AsyncGenerator<int> {
        const Note local(out, 'l');
        handle.reset();
        co_yield 1;
        out += '!';
      };
      handle.emplace(make(Note(out, 'p')));
      CHECK(handle->next().result() == 1);
      loop.close();
    }
    CHECK(out == "lp");
  }

  TEST_CASE("IOLoop.close: a consumer, its generator and what that waits for: the newest first") {
    std::string out;
    {
      test::Loop loop;
      const auto called = [&out]() -> Future<int> {
        const Note local(out, 'c');
        co_await gen::sleep(1h);
        co_return 1;
      };
      const auto generator = [&]() -> AsyncGenerator<int> {
        const Note local(out, 'g');
        const int value = co_await called();
        co_yield value;
      };
      const auto consumer = [&]() -> Future<void> {
        const Note local(out, 'o');
        auto values = generator();
        const Note later(out, 'i');
        static_cast<void>(co_await values.next());
        out += '!';
      };
      const Future<void> future = consumer();
      loop.iterate(2);
      loop.close();
      CHECK(future.cancelled());
    }
    CHECK(out == "cgio");
  }

  TEST_CASE("AsyncGenerator: from a second loop: goes on if the first did not destroy it") {
    std::vector<Future<int>> gates;
    auto waited = from_gates(gates);
    auto not_waited = count_to(3);
    {
      test::Loop loop;
      const auto next = waited.next();
      gates[0].set_result(1);
      CHECK(test::result(loop, next) == 1);
      CHECK(test::result(loop, not_waited.next()) == 1);
      loop.close();
    }
    test::Loop loop;
    CHECK(test::result(loop, waited.next()) == std::nullopt);
    CHECK(test::result(loop, not_waited.next()) == 2);
  }
}
