// SPDX-License-Identifier: Apache-2.0
//
// WaitIterator. First the ports of Tornado's WaitIteratorTest.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::async_future;
using test::CustomError;
using test::error_of;
using test::list;
using test::ZeroDivisionError;

namespace {

using Futures = std::vector<Future<int>>;

/// Python's `a is b`: completing one completes the other.
template <class T>
bool same(const Future<T>& a, const std::optional<Future<T>>& b) {
  return b && a.done() && b->done() && &a.result() == &b->result();
}

void finish_coroutines(int iteration, Futures futures) {
  if (iteration == 3) {
    futures[2].set_result(24);
  } else if (iteration == 5) {
    futures[0].set_exception(ZeroDivisionError());
  } else if (iteration == 8) {
    futures[1].set_result(42);
    futures[3].set_result(84);
  }
  if (iteration < 8) {
    IOLoop::current().add_callback(finish_coroutines, iteration + 1, std::move(futures));
  }
}

/// Takes all that is left: "0=1 2=failed " for a value from the Future 0, an error from 2.
Future<std::string> take_all(gen::WaitIterator<int> results) {
  std::string all;
  while (!results.done()) {
    std::string value;
    try {
      const auto result = co_await results.next();
      value = std::to_string(result.value());
    } catch (const CancelledError&) {
      value = "cancelled";
    } catch (const std::exception& e) {
      value = e.what();
    }
    all += std::to_string(results.current_index().value()) + "=" + value + " ";
  }
  co_return all;
}

}  // namespace

TEST_SUITE("gen") {
  // ---- Ports of WaitIteratorTest --------------------------------------------------------------

  // Futures with and without keys, a ValueError in Python, do not compile together.
  // Python: gen_test.WaitIteratorTest.test_empty_iterator
  TEST_CASE("WaitIterator: an empty one is done at once (G11)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      gen::WaitIterator<int> g((Futures()));
      CHECK(g.done());
      using Keyed = std::map<std::string, Future<int>>;
      static_assert(!std::is_constructible_v<gen::WaitIterator<int>, Future<int>, Keyed>);
      CHECK_FALSE(g.current_index());
      CHECK_FALSE(g.current_future());
      const auto end = co_await g.next();
      CHECK_FALSE(end);
    });
  }

  // Python: gen_test.WaitIteratorTest.test_already_done
  TEST_CASE("WaitIterator: Futures that are done already, in their order, by place or key (G11)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const Future<int> f1;
      const Future<int> f2;
      const Future<int> f3;
      f1.set_result(24);
      f2.set_result(42);
      f3.set_result(84);

      gen::WaitIterator<int> g(f1, f2, f3);
      int i = 0;
      while (!g.done()) {
        const auto r = co_await g.next();
        if (i == 0) {
          CHECK(g.current_index() == 0);
          CHECK(same(f1, g.current_future()));
          CHECK(r == 24);
        } else if (i == 1) {
          CHECK(g.current_index() == 1);
          CHECK(same(f2, g.current_future()));
          CHECK(r == 42);
        } else if (i == 2) {
          CHECK(g.current_index() == 2);
          CHECK(same(f3, g.current_future()));
          CHECK(r == 84);
        }
        ++i;
      }
      CHECK(i == 3);
      // Python has None here already, since it looks ahead; here it is so after the end.
      const auto end = co_await g.next();
      CHECK_FALSE(end);
      CHECK_FALSE(g.current_index());
      CHECK_FALSE(g.current_future());

      std::map<std::string, Future<int>> named;
      named.emplace("f1", f1);
      named.emplace("f2", f2);
      gen::WaitIterator<int, std::string> dg(named);
      while (!dg.done()) {
        const auto dr = co_await dg.next();
        if (dg.current_index() == "f1") {
          CHECK(same(f1, dg.current_future()));
          CHECK(dr == 24);
        } else if (dg.current_index() == "f2") {
          CHECK(same(f2, dg.current_future()));
          CHECK(dr == 42);
        } else {
          FAIL_CHECK("got a bad index");
        }
        ++i;
      }
      CHECK(i == 5);
      const auto named_end = co_await dg.next();
      CHECK_FALSE(named_end);
      CHECK_FALSE(dg.current_index());
      CHECK_FALSE(dg.current_future());
    });
  }

  // Python: gen_test.WaitIteratorTest.test_iterator
  TEST_CASE("WaitIterator: results and an error, in the order in which they come (G11)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      Futures futures(4);
      finish_coroutines(0, futures);

      gen::WaitIterator<int> g(futures);
      int i = 0;
      while (!g.done()) {
        try {
          const auto r = co_await g.next();
          if (i == 0) {
            CHECK(r == 24);
            CHECK(g.current_index() == 2);
          } else if (i == 2) {
            CHECK(r == 42);
            CHECK(g.current_index() == 1);
          } else if (i == 3) {
            CHECK(r == 84);
            CHECK(g.current_index() == 3);
          } else {
            FAIL_CHECK("an error was expected");
          }
        } catch (const ZeroDivisionError&) {
          CHECK(i == 1);
          CHECK(g.current_index() == 0);
          CHECK(g.current_future()->exception() == futures[0].exception());
        }
        ++i;
      }
      CHECK(i == 4);
    });
  }

  // Python: gen_test.WaitIteratorTest.test_iterator_async_await
  TEST_CASE("WaitIterator: a loop that an error ends, and one that takes up the rest (G11)") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      Futures futures(4);
      finish_coroutines(0, futures);

      int i = 0;
      gen::WaitIterator<int> g(futures);
      try {
        while (const auto r = co_await g.next()) {
          CHECK(i == 0);
          CHECK(r == 24);
          CHECK(g.current_index() == 2);
          ++i;
        }
      } catch (const ZeroDivisionError&) {
        ++i;
      }
      while (const auto r = co_await g.next()) {
        if (i == 2) {
          CHECK(r == 42);
          CHECK(g.current_index() == 1);
        } else if (i == 3) {
          CHECK(r == 84);
          CHECK(g.current_index() == 3);
        } else {
          FAIL_CHECK("didn't expect iteration ", i);
        }
        ++i;
      }
      CHECK(i == 4);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.WaitIteratorTest.test_no_ref
  TEST_CASE("WaitIterator: next keeps what it needs when nobody holds the iterator (G12)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto result = co_await gen::with_timeout(
          test::async_test_timeout(), gen::WaitIterator<void>(gen::sleep(0s)).next());
      CHECK(result);
    });
  }

  // ---- next -----------------------------------------------------------------------------------

  TEST_CASE("WaitIterator.next: several done in the same iteration all come, none twice (G11)") {
    test::Loop loop;
    Futures futures(6);
    const auto all = take_all(gen::WaitIterator<int>(futures));
    loop.iterate();
    for (const int i : {4, 1, 5}) futures[static_cast<std::size_t>(i)].set_result(i);
    loop.iterate(2);
    for (const int i : {0, 3, 2}) futures[static_cast<std::size_t>(i)].set_result(i);
    loop.iterate(2);
    REQUIRE(all.done());
    CHECK(all.result() == "4=4 1=1 5=5 0=0 3=3 2=2 ");
  }

  TEST_CASE("WaitIterator.next: what is done already comes before what is done later") {
    test::Loop loop;
    const Future<int> late;
    const auto all = take_all(gen::WaitIterator<int>(late, make_ready_future(1), async_future(2)));
    loop.iterate(3);
    late.set_result(3);
    loop.iterate(2);
    REQUIRE(all.done());
    CHECK(all.result() == "1=1 2=2 0=3 ");
  }

  TEST_CASE("WaitIterator.next: results that came while nobody asked are kept in their order") {
    test::Loop loop;
    Futures futures(3);
    gen::WaitIterator<int> results(futures);
    futures[2].set_result(2);
    loop.iterate();
    futures[0].set_result(0);
    loop.iterate();
    futures[1].set_result(1);
    loop.iterate();
    CHECK(loop.run([&] { return take_all(results); }) == "2=2 0=0 1=1 ");
  }

  TEST_CASE(
      "WaitIterator.next: a Future that stands there twice comes twice, each with its place") {
    test::Loop loop;
    const Future<int> twice;
    const auto waiting = take_all(gen::WaitIterator<int>(twice, twice));
    twice.set_result(7);
    loop.iterate(2);
    REQUIRE(waiting.done());
    CHECK(waiting.result() == "0=7 1=7 ");
    CHECK(loop.run([&] { return take_all(gen::WaitIterator<int>(twice, twice)); }) == "0=7 1=7 ");
  }

  TEST_CASE("WaitIterator.next: after an error or a cancelled Future the others can be had") {
    test::Loop loop;
    Futures futures(4);
    futures[0].set_exception(CustomError("failed"));
    futures[1].cancel();
    const auto all = take_all(gen::WaitIterator<int>(futures));
    futures[3].set_exception(CustomError("late"));
    loop.iterate(2);
    futures[2].set_result(2);
    loop.iterate(2);
    REQUIRE(all.done());
    CHECK(all.result() == "0=failed 1=cancelled 3=late 2=2 ");
  }

  TEST_CASE("WaitIterator.next: an error that was not asked for is the Future's to log") {
    test::Loop loop;
    const test::ExpectLog expected(log::app_log, "CustomError: nobody asked");
    {
      const Future<int> failed;
      const gen::WaitIterator<int> results(failed, Future<int>());
      failed.set_exception(CustomError("nobody asked"));
      loop.iterate();
    }
    CHECK(expected.count() == 1);
  }

  TEST_CASE("WaitIterator.next: throws while the last one is pending, and harms nothing by it") {
    test::Loop loop;
    const Future<int> first;
    gen::WaitIterator<int> results(first, make_ready_future(5), Future<int>());
    const auto ready = results.next();
    REQUIRE(ready.done());
    CHECK(ready.result() == 5);
    const auto pending = results.next();
    CHECK_FALSE(pending.done());
    CHECK_THROWS_AS(static_cast<void>(results.next()), std::logic_error);
    gen::WaitIterator<int> copy = results;
    CHECK_THROWS_AS(static_cast<void>(copy.next()), std::logic_error);
    first.set_result(6);
    loop.iterate(2);
    REQUIRE(pending.done());
    CHECK(pending.result() == 6);
    CHECK(results.current_index() == 0);
    static_cast<void>(results.next());  // allowed again
  }

  TEST_CASE("WaitIterator.next: after the end it gives nothing, again and again") {
    test::Loop loop;
    gen::WaitIterator<int> results(make_ready_future(1));
    CHECK_FALSE(results.done());
    CHECK(results.next().result() == 1);
    CHECK(results.done());
    CHECK(results.current_index() == 0);
    for (int i = 0; i < 3; ++i) {
      const auto end = results.next();
      REQUIRE(end.done());
      CHECK_FALSE(end.result());
      CHECK(results.done());
      CHECK_FALSE(results.current_index());
      CHECK_FALSE(results.current_future());
    }
  }

  TEST_CASE("WaitIterator.current_index: none before the first next and while one is pending") {
    test::Loop loop;
    const Future<int> late;
    gen::WaitIterator<int> results(make_ready_future(1), late);
    CHECK_FALSE(results.current_index());
    CHECK_FALSE(results.current_future());
    static_cast<void>(results.next());
    CHECK(results.current_index() == 0);
    const auto pending = results.next();
    CHECK_FALSE(results.current_index());
    CHECK_FALSE(results.current_future());
    late.set_result(2);
    loop.iterate(2);
    CHECK(results.current_index() == 1);
    CHECK(results.current_future()->result() == 2);
  }

  // ---- Kinds of values and keys ---------------------------------------------------------------

  TEST_CASE("WaitIterator: of Futures without values gives that they are done") {
    test::Loop loop;
    const Future<void> failed;
    gen::WaitIterator<void> results(gen::sleep(0s), make_ready_future(), failed);
    failed.set_exception(CustomError("failed"));
    loop.run([&]() -> Future<void> {
      int count = 0;
      while (count < 2) {
        const std::optional<std::monostate> result = co_await results.next();
        CHECK(result);
        CHECK(results.current_index() != 2);
        if (results.current_index() == 0) break;
        ++count;
        if (count == 1) {
          const auto what = co_await error_of(results.next());
          CHECK(what == "failed");
          CHECK(results.current_index() == 2);
        }
      }
      CHECK(results.done());
    });
  }

  TEST_CASE("WaitIterator: values that only move are handed out") {
    test::Loop loop;
    const Future<std::unique_ptr<int>> late;
    gen::WaitIterator<std::unique_ptr<int>> results(late,
                                                    make_ready_future(std::make_unique<int>(1)));
    loop.run([&]() -> Future<void> {
      auto first = co_await results.next();
      CHECK(**first == 1);
      CHECK_THROWS_AS(results.current_future()->result(), InvalidStateError);
      late.set_result(std::make_unique<int>(2));
      auto second = co_await results.next();
      CHECK(**second == 2);
    });
  }

  TEST_CASE("WaitIterator: a value that can be copied stays with its Future too") {
    test::Loop loop;
    const Future<std::string> mine = make_ready_future(std::string("a text too long for no heap"));
    gen::WaitIterator<std::string> results(mine);
    CHECK(results.next().result() == "a text too long for no heap");
    CHECK(results.current_future()->result() == "a text too long for no heap");
    CHECK(mine.result() == "a text too long for no heap");
  }

  TEST_CASE("WaitIterator: tells those of a map apart by their keys, of whatever type") {
    test::Loop loop;
    const Future<int> late;
    std::map<char, Future<int>> futures;
    futures.emplace('x', late);
    futures.emplace('a', make_ready_future(1));
    gen::WaitIterator<int, char> results(futures);
    std::string order;
    const auto f = [&]() -> Future<void> {
      while (const auto result = co_await results.next()) {
        order += results.current_index().value();
        order += std::to_string(*result);
      }
    };
    const Future<void> all = f();
    late.set_result(2);
    loop.iterate(2);
    CHECK(all.done());
    CHECK(order == "a1x2");
  }

  TEST_CASE("WaitIterator: copies share one iterator") {
    test::Loop loop;
    gen::WaitIterator<int> one(make_ready_future(1), make_ready_future(2), make_ready_future(3));
    gen::WaitIterator<int> other = one;
    CHECK(one.next().result() == 1);
    CHECK(other.next().result() == 2);
    CHECK(one.current_index() == 1);
    CHECK(one.next().result() == 3);
    CHECK(other.done());
  }

  TEST_CASE("WaitIterator: a thousand, done in any order, each come once") {
    test::Loop loop;
    Futures futures(1000);
    std::vector<int> seen(1000);
    gen::WaitIterator<int> results(futures);
    loop.run([&]() -> Future<void> {
      // Some at each iteration, in an order of no order.
      const auto finish = [&]() -> Future<void> {
        for (std::size_t i = 0; i < 1000; ++i) {
          const std::size_t place = i * 617 % 1000;
          futures[place].set_result(static_cast<int>(place));
          if (i % 7 == 0) co_await gen::moment;
        }
      };
      const Future<void> finished = finish();
      while (const auto result = co_await results.next()) {
        CHECK(results.current_index() == static_cast<std::size_t>(*result));
        ++seen[static_cast<std::size_t>(*result)];
      }
      co_await finished;
    });
    CHECK(seen == std::vector<int>(1000, 1));
  }

  // ---- Cancellation and lifetimes -------------------------------------------------------------

  TEST_CASE("WaitIterator.next: cancelling it loses no result, and cancels none of the Futures") {
    test::Loop loop;
    const Future<int> a;
    const Future<int> b;
    gen::WaitIterator<int> results(a, b);
    const auto cancelled = results.next();
    CHECK(cancelled.cancel());
    loop.iterate(2);
    CHECK(cancelled.cancelled());
    CHECK_FALSE(a.done());
    CHECK_FALSE(b.done());
    CHECK_FALSE(results.done());
    CHECK_FALSE(results.current_index());

    const auto next = results.next();
    b.set_result(2);
    a.set_result(1);
    loop.iterate(2);
    REQUIRE(next.done());
    CHECK(next.result() == 2);
    CHECK(results.next().result() == 1);
    CHECK(results.done());
  }

  TEST_CASE("WaitIterator.next: cancelled in the iteration in which a result comes") {
    for (const bool result_first : {true, false}) {
      CAPTURE(result_first);
      test::Loop loop;
      const Future<int> a;
      gen::WaitIterator<int> results(a);
      const auto next = results.next();
      if (result_first) a.set_result(1);
      CHECK(next.cancel());
      if (!result_first) a.set_result(1);
      loop.iterate(3);
      REQUIRE(next.done());
      if (next.cancelled()) {  // then it is still there
        CHECK_FALSE(results.done());
        CHECK(results.next().result() == 1);
      } else {
        CHECK(next.result() == 1);
      }
      CHECK(results.done());
    }
  }

  TEST_CASE("WaitIterator.next: a coroutine that waits for it is cancelled, another goes on") {
    test::Loop loop;
    const Future<int> a;
    gen::WaitIterator<int> results(a, make_ready_future(0));
    int taken = 0;
    const auto take = [&]() -> Future<void> {
      while (const auto result = co_await results.next()) ++taken;
    };
    const Future<void> first = take();
    loop.iterate();
    first.cancel();
    loop.iterate(2);
    CHECK(first.cancelled());
    CHECK(taken == 1);
    const Future<void> second = take();
    a.set_result(1);
    loop.iterate(2);
    CHECK(second.done());
    CHECK(taken == 2);
  }

  TEST_CASE("WaitIterator: dropped, with Futures that nobody completes, it leaves nothing behind") {
    test::Loop loop;
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    {
      Futures futures(3);
      // Gone with the Future's state.
      futures[0].add_done_callback([token = std::move(token)] {});
      gen::WaitIterator<int> results(std::move(futures));
      CHECK_FALSE(watch.expired());
    }
    CHECK(watch.expired());
  }

  TEST_CASE("WaitIterator: dropped before its Futures are done, which do not mind") {
    test::Loop loop;
    const Future<int> future;
    { const gen::WaitIterator<int> results(future, Future<int>()); }
    future.set_result(1);
    loop.iterate();
    CHECK(future.result() == 1);
  }

  TEST_CASE("WaitIterator.next: a coroutine suspended in it goes when the loop closes") {
    std::string order;
    Future<void> future;
    {
      test::Loop loop;
      const auto f = [&]() -> Future<void> {
        const test::Note local(order, 'l');
        gen::WaitIterator<void> results(gen::sleep(1h), Future<void>());
        const auto result = co_await results.next();
        order += result ? "never" : "nor this";
      };
      future = f();
      loop.iterate();
    }
    CHECK(order == "l");
    CHECK(future.cancelled());
  }

  TEST_CASE("WaitIterator: outlives its loop") {
    const Future<int> pending;
    std::optional<gen::WaitIterator<int>> results;
    std::optional<Future<std::optional<int>>> next;
    {
      test::Loop loop;
      results.emplace(make_ready_future(1), pending);
      CHECK(results->next().result() == 1);
      next = results->next();
    }
    CHECK(next->cancelled());
    CHECK_FALSE(results->done());
    CHECK_FALSE(results->current_index());
    pending.set_result(2);
  }
}
