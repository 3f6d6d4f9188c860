// SPDX-License-Identifier: Apache-2.0
//
// What cancelling a coroutine does, wherever it waits.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <exception>
#include <optional>
#include <string>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;
using test::list;
using test::Note;

TEST_SUITE("gen") {
  // ---- Cancellation ---------------------------------------------------------------------------

  TEST_CASE("cancel: ends a sleep with CancelledError, through the loop (G19)") {
    test::Loop loop;
    std::string order;
    const auto f = [&]() -> Future<void> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        order += "c";
        throw;
      }
    };
    const Future<void> future = f();
    CHECK(future.cancel());
    order += "a";
    CHECK_FALSE(future.done());
    CHECK_FALSE(future.cancelled());
    CHECK(future.cancel());
    order += "b";
    loop.iterate();
    CHECK(order == "abc");
    CHECK(future.cancelled());
    CHECK_FALSE(future.cancel());
    CHECK_THROWS_AS(future.result(), CancelledError);
  }

  TEST_CASE("cancel: reaches the innermost wait, and comes out through all that called (G19)") {
    test::Loop loop;
    std::string order;
    const Future<int> innermost;
    const auto inner = [&]() -> Future<int> {
      const Note note(order, 'i');
      co_return co_await innermost;
    };
    const auto middle = [&]() -> Future<int> {
      const Note note(order, 'm');
      try {
        co_return co_await inner();
      } catch (const std::exception&) {
        FAIL_CHECK("caught as a std::exception");
      }
      co_return 0;
    };
    const auto outer = [&]() -> Future<int> {
      const Note note(order, 'o');
      co_return co_await middle();
    };
    const Future<int> future = outer();
    CHECK(future.cancel());
    CHECK(innermost.cancelled());
    CHECK(order.empty());
    loop.iterate();
    CHECK(order == "imo");
    CHECK(future.cancelled());
  }

  TEST_CASE("cancel: a coroutine may clean up, waiting, and even decline") {
    test::Loop loop;
    std::string order;
    const auto cleans_up = [&]() -> Future<void> {
      bool cancelled = false;
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        cancelled = true;
      }
      co_await gen::moment;
      order += "clean ";
      if (cancelled) throw CancelledError();
    };
    const auto declines = [&]() -> Future<int> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
      }
      co_await gen::moment;
      co_return 5;
    };
    const Future<void> first = cleans_up();
    const Future<int> second = declines();
    CHECK(first.cancel());
    CHECK(second.cancel());
    loop.iterate(3);
    CHECK(order == "clean ");
    CHECK(first.cancelled());
    CHECK_FALSE(second.cancelled());
    CHECK(second.result() == 5);
  }

  TEST_CASE("cancel: an error after the request is the result") {
    test::Loop loop;
    const auto f = []() -> Future<void> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        throw CustomError("instead");
      }
    };
    const Future<void> future = f();
    CHECK(future.cancel());
    loop.iterate();
    CHECK_FALSE(future.cancelled());
    CHECK_THROWS_WITH_AS(future.result(), "instead", CustomError);
  }

  TEST_CASE("cancel: what is complete already is delivered, and the next wait ends") {
    test::Loop loop;
    std::string order;
    const Future<int> ready_soon;
    const auto f = [&]() -> Future<void> {
      const int value = co_await ready_soon;
      order += std::to_string(value);
      co_await make_ready_future();  // does not suspend, so it is no place to end
      order += "r";
      co_await gen::sleep(1h);
      order += "not reached";
    };
    const Future<void> future = f();
    ready_soon.set_result(1);
    CHECK(future.cancel());
    loop.iterate(2);
    CHECK(order == "1r");
    CHECK(future.cancelled());
  }

  TEST_CASE("cancel: a coroutine that asks itself ends at its next wait, or not at all") {
    test::Loop loop;
    std::optional<Future<void>> handle;
    std::string order;
    const auto f = [&](bool waits) -> Future<void> {
      co_await gen::moment;
      CHECK(handle->cancel());
      order += "a";
      if (waits) {
        co_await gen::moment;
        order += "not reached";
      }
    };
    handle = f(true);
    loop.iterate(3);
    CHECK(handle->cancelled());
    handle = f(false);
    loop.iterate(3);
    CHECK(handle->done());
    CHECK_FALSE(handle->cancelled());
    CHECK(order == "aa");
  }

  TEST_CASE("cancel: at a moment, and at a timer that is due already") {
    test::Loop loop;
    const auto at_moment = []() -> Future<void> { co_await gen::moment; };
    const Future<void> moment = at_moment();
    CHECK(moment.cancel());
    loop.iterate();
    CHECK(moment.cancelled());

    // The sleep cannot be ended any more; so the request is met where its caller waits next.
    std::string reached;
    const auto at_timer = [&]() -> Future<void> {
      co_await gen::sleep(0s);
      reached += "a";
      co_await gen::moment;
      reached += "not reached";
    };
    const Future<void> due = at_timer();
    const Future<void> sleep = gen::sleep(0s);
    loop.call_later(0, [&] {
      CHECK(due.cancel());
      CHECK(sleep.cancel());
    });
    loop.iterate(5);
    CHECK(reached == "a");
    CHECK(due.cancelled());
    CHECK(sleep.done());
    CHECK_FALSE(sleep.cancelled());
  }

  TEST_CASE("cancel: a request for the called that comes too late is not one for the caller") {
    test::Loop loop;
    const Future<int> ready_soon;
    std::optional<Future<int>> called;
    const auto inner = [&]() -> Future<int> { co_return co_await ready_soon; };
    const auto outer = [&]() -> Future<int> {
      called = inner();
      const int value = co_await *called;
      co_await gen::moment;
      co_return value;
    };
    const Future<int> future = outer();
    ready_soon.set_result(5);
    CHECK(called->cancel());
    loop.iterate(3);
    CHECK(called->result() == 5);
    CHECK(future.result() == 5);
  }

  TEST_CASE("cancel: a Future that others await too goes on") {
    test::Loop loop;
    const Future<int> shared;
    const auto wait = [&]() -> Future<int> { co_return co_await shared; };
    const Future<int> first = wait();
    const Future<int> second = wait();
    CHECK(first.cancel());
    loop.iterate();
    CHECK(first.cancelled());
    CHECK_FALSE(shared.done());
    CHECK_FALSE(second.done());
    shared.set_result(3);
    loop.iterate();
    CHECK(second.result() == 3);

    const Future<int> last = Future<int>();
    const auto alone = [&]() -> Future<int> { co_return co_await last; };
    const Future<int> only = alone();
    CHECK(only.cancel());
    CHECK(last.cancelled());
    loop.iterate();
    CHECK(only.cancelled());
  }

  TEST_CASE("cancel: of a list cancels the children that nobody else awaits, and waits for them") {
    test::Loop loop;
    std::string order;
    const auto child = [&](char name) -> Future<int> {
      bool cancelled = false;
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        cancelled = true;
      }
      co_await gen::moment;
      order += name;
      if (cancelled) throw CancelledError();
      co_return 1;
    };
    const Future<int> shared;
    const auto other = [&]() -> Future<int> { co_return co_await shared; };
    const Future<int> waits_too = other();
    const Future<std::vector<int>> all =
        gen::multi(list(child('a'), shared, child('b'), make_ready_future(4)));
    const auto caller = [&]() -> Future<void> {
      try {
        co_await all;
      } catch (const CancelledError&) {
        order += "!";
        throw;
      }
    };
    const Future<void> future = caller();
    CHECK(future.cancel());
    loop.iterate(3);
    CHECK(order == "ab!");
    CHECK(all.cancelled());
    CHECK(future.cancelled());
    CHECK_FALSE(shared.done());
    shared.set_result(2);
    loop.iterate();
    CHECK(waits_too.result() == 2);
  }

  TEST_CASE("cancel: of a list in which a Future stands twice") {
    test::Loop loop;
    const Future<int> twice;
    const Future<int> shared;
    const auto other = [&]() -> Future<int> { co_return co_await shared; };
    const Future<int> waits_too = other();
    const Future<std::vector<int>> all = gen::multi(list(twice, shared, twice, shared));
    CHECK(all.cancel());
    CHECK(twice.cancelled());
    CHECK_FALSE(shared.done());
    loop.iterate();
    CHECK(all.cancelled());
    shared.set_result(1);
    loop.iterate();
    CHECK(waits_too.result() == 1);
  }

  TEST_CASE("cancel: of a list that only awaits what others await too ends at once") {
    test::Loop loop;
    const Future<int> shared;
    const auto other = [&]() -> Future<int> { co_return co_await shared; };
    const Future<int> waits_too = other();
    const Future<std::vector<int>> all = gen::multi(list(shared));
    CHECK(all.cancel());
    loop.iterate();
    CHECK(all.cancelled());
    CHECK_FALSE(shared.done());
    shared.set_result(1);
    loop.iterate();
    CHECK(waits_too.done());
  }

  TEST_CASE("cancel: of a list logs the errors with which children end instead") {
    test::Loop loop;
    const auto child = []() -> Future<int> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        throw CustomError("while it was cancelled");
      }
      co_return 1;
    };
    const Future<std::vector<int>> all = gen::multi(list(child()));
    const test::ExpectLog expected(log::app_log, "CustomError: while it was cancelled");
    CHECK(all.cancel());
    loop.iterate(2);
    CHECK(all.cancelled());
    CHECK(expected.count() == 1);
  }

  TEST_CASE("cancel: of with_timeout cancels what it waits for") {
    test::Loop loop;
    const Future<int> inner;
    const Future<int> timed = gen::with_timeout(1h, inner);
    CHECK(timed.cancel());
    CHECK(inner.cancelled());
    loop.iterate();
    CHECK(timed.cancelled());

    const Future<int> shared;
    const auto other = [&]() -> Future<int> { co_return co_await shared; };
    const Future<int> waits_too = other();
    const Future<int> timed_too = gen::with_timeout(1h, shared);
    CHECK(timed_too.cancel());
    loop.iterate();
    CHECK(timed_too.cancelled());
    CHECK_FALSE(shared.done());
    shared.set_result(1);
    loop.iterate();
    CHECK(waits_too.done());
  }

  TEST_CASE("cancel: dropping handles cancels nothing") {
    test::Loop loop;
    bool finished = false;
    const auto inner = [&]() -> Future<void> {
      co_await gen::moment;
      co_await gen::moment;
      finished = true;
    };
    { const Future<void> dropped = inner(); }
    loop.iterate(3);
    CHECK(finished);
  }
}
