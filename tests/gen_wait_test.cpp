// SPDX-License-Identifier: Apache-2.0
//
// settled, shield and when_any; and coroutines in long chains.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::outcome;
using test::sleeper;

namespace {

Future<void> fail_after(Future<void> gate, const char* what) {
  co_await gate;
  throw std::runtime_error(what);
}

std::string what(const std::exception_ptr& error) { return outcome(make_exception_future(error)); }

}  // namespace

TEST_SUITE("gen") {
  // ---- settled ----------------------------------------------------------------------------------

  TEST_CASE("gen.settled: a value") {
    test::Loop loop;
    const Future<std::string> future;
    const auto settled = gen::settled(future);
    loop.iterate();
    CHECK(outcome(settled) == "pending");
    future.set_result("text");
    const auto how = test::result(loop, settled);
    CHECK(how);
    CHECK(how.has_value());
    CHECK(how.value() == "text");
    CHECK_FALSE(how.cancelled());
    CHECK(how.error() == nullptr);
    const auto nothing = test::result(loop, gen::settled(make_ready_future()));
    CHECK(nothing);
    nothing.value();
  }

  TEST_CASE("gen.settled: the value itself, also one that only moves") {
    test::Loop loop;
    const int got = loop.run([]() -> Future<int> {
      auto how = co_await gen::settled(make_ready_future(std::make_unique<int>(5)));
      const std::unique_ptr<int> owned = std::move(how).value();
      co_return *owned;
    });
    CHECK(got == 5);
  }

  TEST_CASE("gen.settled: a failure is in the result, is not thrown, and not logged") {
    test::Loop loop;
    const Future<void> gate;
    auto settled = gen::settled(fail_after(gate, "broken"));
    gate.set_result();
    {
      const auto how = test::result(loop, settled);
      CHECK_FALSE(how);
      CHECK_FALSE(how.cancelled());
      CHECK(what(how.error()) == "broken");
      CHECK_THROWS_WITH(how.value(), "broken");
    }
    // Nor when nobody looks at the result.
    { const auto dropped = gen::settled(fail_after(gate, "nobody looks")); }
    loop.iterate(3);
    settled = gen::settled(make_exception_future(std::make_exception_ptr(std::runtime_error(""))));
    CHECK(settled.done());
  }

  TEST_CASE("gen.settled: of what is cancelled: a result like others") {
    test::Loop loop;
    std::string out;
    const Future<void> work = sleeper(out, 'a', 1);
    const auto settled = gen::settled(work);
    work.cancel();
    const auto how = test::result(loop, settled);
    CHECK_FALSE(how);
    CHECK(how.cancelled());
    CHECK_THROWS_AS(std::rethrow_exception(how.error()), CancelledError);
    CHECK_THROWS_AS(how.value(), CancelledError);
  }

  TEST_CASE("gen.settled: cancelled itself, it cancels and waits, and that is thrown") {
    test::Loop loop;
    std::string out;
    const auto waiter = [&]() -> Future<void> {
      try {
        static_cast<void>(co_await gen::settled(sleeper(out, 'a', 2)));
        out += '?';
      } catch (const CancelledError&) {
        out += 'c';
        throw;
      }
    };
    const Future<void> future = waiter();
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(out == "aAc");
    CHECK(future.cancelled());
  }

  TEST_CASE(
      "gen.settled: cancelled, but what it waits for ends with a value or an error after all") {
    test::Loop loop;
    const auto declines = [](bool fails) -> Future<int> {
      Future<void> never;
      try {
        co_await never;
      } catch (const CancelledError&) {
      }
      if (fails) throw std::runtime_error("cleaning up");
      co_return 1;
    };
    for (const bool fails : {false, true}) {
      const auto settled = gen::settled(declines(fails));
      settled.cancel();
      const auto how = test::result(loop, settled);
      CHECK(how.has_value() != fails);
      if (fails) CHECK(what(how.error()) == "cleaning up");
    }
  }

  TEST_CASE("gen.settled: cancelled, what others wait for too goes on") {
    test::Loop loop;
    std::string out;
    const Future<void> work = sleeper(out, 'a', 1);
    const auto other = [&]() -> Future<void> { co_await work; };
    const Future<void> watching = other();
    const auto settled = gen::settled(work);
    settled.cancel();
    loop.run_until([&] { return settled.done(); });
    CHECK(settled.cancelled());
    CHECK_FALSE(work.done());
    CHECK(out.empty());
  }

  // ---- shield -----------------------------------------------------------------------------------

  TEST_CASE(
      "gen.shield: ends as what it shields: value, error, cancelled, done at once if that is") {
    test::Loop loop;
    const Future<int> value;
    const Future<int> error;
    const Future<int> cancelled;
    const auto shielded_value = gen::shield(value);
    const auto shielded_error = gen::shield(error);
    const auto shielded_cancelled = gen::shield(cancelled);
    value.set_result(1);
    error.set_exception(std::runtime_error("broken"));
    cancelled.cancel();
    loop.iterate(2);
    CHECK(shielded_value.result() == 1);
    CHECK(outcome(shielded_error) == "broken");
    CHECK(shielded_cancelled.cancelled());
    CHECK(gen::shield(make_ready_future(2)).result() == 2);
  }

  TEST_CASE("gen.shield: cancelling it leaves what it shields alone") {
    test::Loop loop;
    std::string out;
    const Future<void> gate;
    const auto work = [&]() -> Future<int> {
      co_await gate;
      out += 'w';
      co_return 1;
    };
    const Future<int> working = work();
    const auto waiter = [&]() -> Future<void> {
      try {
        static_cast<void>(co_await gen::shield(working));
      } catch (const CancelledError&) {
        out += 'c';
        throw;
      }
    };
    const Future<void> future = waiter();
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(out == "c");
    CHECK(future.cancelled());
    CHECK_FALSE(working.done());
    gate.set_result();
    CHECK(test::result(loop, gen::shield(working)) == 1);
    CHECK(out == "cw");
  }

  TEST_CASE("gen.shield: a failure after it was cancelled is logged, once") {
    test::Loop loop;
    const Future<void> gate;
    const auto shielded = gen::shield(fail_after(gate, "late"));
    shielded.cancel();
    CHECK(shielded.cancelled());
    gate.set_result();
    test::ExpectLog expected(log::app_log, "late");
    loop.iterate(3);
    CHECK(expected.count() == 1);
  }

  TEST_CASE("gen.shield: a failure that the shield delivers is not logged") {
    test::Loop loop;
    const Future<void> gate;
    const auto shielded = gen::shield(fail_after(gate, "seen"));
    gate.set_result();
    loop.iterate(3);
    CHECK(outcome(shielded) == "seen");
  }

  // ---- when_any ---------------------------------------------------------------------------------

  TEST_CASE("gen.when_any: the place of the first that is done, however it ends, others go on") {
    test::Loop loop;
    for (std::size_t first = 0; first < 3; ++first) {
      const std::vector<Future<int>> children(3);
      const auto any = gen::when_any(children);
      loop.iterate();
      CHECK(outcome(any) == "pending");
      if (first == 0) children[0].set_result(1);
      if (first == 1) children[1].set_exception(std::runtime_error("broken"));
      if (first == 2) children[2].cancel();
      CHECK(test::result(loop, any) == first);
      CHECK(outcome(children[first]) == (first == 0   ? "value"
                                         : first == 1 ? "broken"
                                                      : std::string("cancelled")));
      for (std::size_t i = 0; i < 3; ++i) CHECK(children[i].done() == (i == first));
    }
  }

  TEST_CASE("gen.when_any: of different types, two in one turn: the one that was first") {
    test::Loop loop;
    const Future<int> number;
    const Future<void> nothing;
    const Future<std::string> text;
    const auto any = gen::when_any(number, nothing, text);
    text.set_result("x");
    nothing.set_result();
    CHECK(test::result(loop, any) == 2);
  }

  TEST_CASE("gen.when_any: when several are done already, the first in order, at once") {
    const std::vector<Future<int>> children(4);
    children[3].set_result(3);
    children[1].set_exception(std::runtime_error("broken"));
    CHECK(gen::when_any(children).result() == 1);
    CHECK(outcome(children[1]) == "broken");
    CHECK(gen::when_any(Future<int>(), make_ready_future()).result() == 1);
  }

  TEST_CASE("gen.when_any: none to wait for: throws from the call") {
    CHECK_THROWS_AS(static_cast<void>(gen::when_any(std::vector<Future<int>>())),
                    std::invalid_argument);
  }

  TEST_CASE("gen.when_any: the same Future twice, and again, until all are done") {
    test::Loop loop;
    const Future<int> twice;
    const auto any = gen::when_any(twice, twice);
    loop.iterate();
    twice.set_result(1);
    CHECK(test::result(loop, any) == 0);
    const std::vector<Future<int>> children(3);
    std::vector<Future<int>> left = children;
    for (const int next : {1, 0, 0}) {
      const auto first = gen::when_any(left);
      left[static_cast<std::size_t>(next)].set_result(next);
      const auto place = static_cast<std::ptrdiff_t>(test::result(loop, first));
      CHECK(place == next);
      left.erase(left.begin() + place);
    }
  }

  TEST_CASE("gen.when_any: cancelled, it cancels those for which nobody else waits, and waits") {
    test::Loop loop;
    std::string out;
    const Future<void> shared = sleeper(out, 'x', 0);
    const auto other = [&]() -> Future<void> { co_await shared; };
    const Future<void> watching = other();
    const Future<void> first = sleeper(out, 'a', 3);
    const auto any = gen::when_any(first, shared, sleeper(out, 'b', 1), first);
    any.cancel();
    loop.run_until([&] { return any.done(); });
    CHECK(any.cancelled());
    CHECK(out == "abBA");
    CHECK_FALSE(shared.done());
  }

  TEST_CASE("gen.when_any: cancelled when one is done already: that is delivered first") {
    test::Loop loop;
    const Future<int> first;
    const Future<int> second;
    std::size_t got = 9;
    const auto waiter = [&]() -> Future<void> {
      got = co_await gen::when_any(first, second);
      co_await gen::moment;
      got = 9;
    };
    const Future<void> future = waiter();
    second.set_result(1);
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(future.cancelled());
    CHECK_FALSE(first.cancelled());
    CHECK(got == 1);
  }

  // ---- multi ------------------------------------------------------------------------------------

  TEST_CASE("gen.multi: values that only move") {
    test::Loop loop;
    const int sum = loop.run([]() -> Future<int> {
      std::vector<Future<std::unique_ptr<int>>> children;
      for (int i = 1; i <= 3; ++i) children.push_back(make_ready_future(std::make_unique<int>(i)));
      const auto values = co_await gen::multi(std::move(children));
      int total = 0;
      for (const auto& value : values) total += *value;
      co_return total;
    });
    CHECK(sum == 6);
  }

  TEST_CASE("cancel: of a list that is complete already: that is delivered first") {
    test::Loop loop;
    const std::vector<Future<int>> children(2);
    int sum = 0;
    const auto waiter = [&]() -> Future<void> {
      const std::vector<int> values = co_await gen::multi(children);
      sum = values[0] + values[1];
      co_await gen::moment;
      sum = 0;
    };
    const Future<void> future = waiter();
    children[0].set_result(1);
    children[1].set_result(2);
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(sum == 3);
    CHECK(future.cancelled());
  }

  // ---- Long chains
  // --------------------------------------------------------------------------------

  Future<int> one_more(Future<int> than) {
    const int value = co_await std::move(than);
    co_return value + 1;
  }

  Future<int> chain(Future<int> end, int length) {
    Future<int> last = std::move(end);
    for (int i = 0; i < length; ++i) last = one_more(std::move(last));
    return last;
  }

  TEST_CASE("co_await: a chain of 100,000 coroutines, each awaiting the next, that is completed") {
    test::Loop loop;
    const Future<int> end;
    const Future<int> last = chain(end, 100'000);
    end.set_result(0);
    CHECK(test::result(loop, last) == 100'000);
  }

  TEST_CASE("co_await: a chain of 100,000 coroutines that fails at its end") {
    test::Loop loop;
    const Future<int> end;
    const Future<int> last = chain(end, test::sanitized ? 1000 : 100'000);
    end.set_exception(std::runtime_error("broken"));
    loop.run_until([&] { return last.done(); });
    CHECK(outcome(last) == "broken");
  }

  TEST_CASE("IOLoop.close: destroys a chain of 100,000 coroutines") {
    test::Loop loop;
    const Future<int> end;
    const Future<int> last = chain(end, 100'000);
    loop.iterate();
    loop.close();
    CHECK(last.cancelled());
  }

  TEST_CASE("Future.cancel: of a chain of 100,000 coroutines") {
    test::Loop loop;
    const Future<int> last = chain(Future<int>(), test::sanitized ? 1000 : 100'000);
    last.cancel();
    loop.run_until([&] { return last.done(); });
    CHECK(last.cancelled());
  }
}
