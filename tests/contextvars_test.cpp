// SPDX-License-Identifier: Apache-2.0
#include "tornado/contextvars.hpp"

#include "gen_support.hpp"
#include "tornado/asyncgen.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/taskgroup.hpp"

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;
using test::list;

namespace {

const ContextVar<int> ctx_var("ctx_var");

/// What `var` has here: 0 when it was not set.
int here(const ContextVar<int>& var = ctx_var) { return var.get(0); }

void thread_inner(int value, int x) {
  // Python's ctx.run: a thread has values of its own, so they are handed over.
  const auto token = ctx_var.set(value);
  CHECK(ctx_var.get() == x);
  ctx_var.reset(token);
}

Future<void> gen_inner(int x) {
  CHECK(ctx_var.get() == x);
  co_await gen::moment;
  CHECK(ctx_var.get() == x);
}

Future<void> inner(ThreadPoolExecutor& executor, int x) {
  CHECK(ctx_var.get() == x);
  co_await gen_inner(x);
  CHECK(ctx_var.get() == x);
  co_await executor.submit(thread_inner, ctx_var.get(), x);
  CHECK(ctx_var.get() == x);
  co_await run_on_executor(executor, thread_inner, ctx_var.get(), x);
  CHECK(ctx_var.get() == x);
}

Future<void> native_root(ThreadPoolExecutor& executor, int x) {
  ctx_var.set(x);
  co_await inner(executor, x);
}

Future<void> gen_root(ThreadPoolExecutor& executor, int x) {
  ctx_var.set(x);
  co_await gen::moment;
  co_await inner(executor, x);
}

}  // namespace

TEST_SUITE("contextvars") {
  // ---- Ports of ContextVarsTest ---------------------------------------------------------------

  // Python: gen_test.ContextVarsTest.test_propagate
  TEST_CASE("ContextVar: propagates through coroutines that call coroutines (G18)") {
    test::Loop loop;
    ThreadPoolExecutor executor(2);
    loop.run([&]() -> Future<void> {
      co_await list(native_root(executor, 1), native_root(executor, 2), gen_root(executor, 3),
                    gen_root(executor, 4));
    });
    CHECK(here() == 0);
  }

  // Python: gen_test.ContextVarsTest.test_reset
  TEST_CASE("ContextVar.reset: after a suspension (G18)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto token = ctx_var.set(1);
      co_await gen::moment;
      ctx_var.reset(token);
      CHECK(here() == 0);
    });
  }

  // Python: gen_test.ContextVarsTest.test_propagate_to_first_yield_with_native_async_function
  TEST_CASE("ContextVar: set before the first suspension, seen by what is called there (G18)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const int x = 10;
      const auto native_async_function = [x]() -> Future<void> {
        CHECK(ctx_var.get() == x);
        co_return;
      };
      ctx_var.set(x);
      co_await native_async_function();
    });
  }

  // ---- get, set, reset ------------------------------------------------------------------------

  TEST_CASE("ContextVar.get: what was set, the initial value, the fallback, or an error") {
    const ContextVar<std::string> without("without");
    const ContextVar<std::string> with("with", "initial");
    CHECK(without.name() == "without");
    CHECK_THROWS_WITH_AS(without.get(),
                         "ContextVar::get: 'without' was not set here, and has no initial value",
                         std::out_of_range);
    CHECK(with.get() == "initial");
    CHECK(without.get("fallback") == "fallback");
    CHECK(with.get("fallback") == "fallback");  // as in Python: it was not set

    const auto token = without.set("set");
    const auto other_token = with.set("set too");
    CHECK(without.get() == "set");
    CHECK(with.get() == "set too");
    CHECK(without.get("fallback") == "set");
    CHECK(with.get("fallback") == "set too");
    without.reset(token);
    with.reset(other_token);
    CHECK_THROWS_AS(without.get(), std::out_of_range);
    CHECK(with.get() == "initial");
  }

  TEST_CASE("ContextVar.reset: sets what was there before that set, be it nothing") {
    const ContextVar<int> var("var");
    const auto first = var.set(1);
    CHECK(first.old_value() == nullptr);
    const auto second = var.set(2);
    REQUIRE(second.old_value() != nullptr);
    CHECK(*second.old_value() == 1);
    const auto third = var.set(3);
    CHECK(*third.old_value() == 2);

    const auto copy = third;
    var.reset(copy);
    CHECK(var.get() == 2);
    var.reset(first);
    CHECK(here(var) == 0);
    CHECK_THROWS_AS(var.get(), std::out_of_range);
    var.reset(third);  // in whatever order
    CHECK(var.get() == 2);
    var.reset(first);
    var.reset(first);  // nothing stays nothing
    CHECK(here(var) == 0);
  }

  TEST_CASE("ContextVar.reset: refuses another variable's token, and says which") {
    const ContextVar<int> a("a");
    const ContextVar<int> b("b");
    const auto token = a.set(1);
    CHECK_THROWS_WITH_AS(b.reset(token), "ContextVar::reset: the token is that of 'a', not of 'b'",
                         std::invalid_argument);
    CHECK(a.get() == 1);
    CHECK(here(b) == 0);
    a.reset(token);
  }

  TEST_CASE("ContextVar: variables are independent, also those of the same name") {
    const ContextVar<int> a("same");
    const ContextVar<int> b("same");
    const ContextVar<int> c("same");
    const auto a_token = a.set(1);
    const auto b_token = b.set(2);
    const auto c_token = c.set(3);
    a.reset(a_token);
    CHECK(here(a) == 0);
    CHECK(b.get() == 2);
    CHECK(c.get() == 3);
    c.reset(c_token);
    CHECK(b.get() == 2);
    b.reset(b_token);
    CHECK(here(b) == 0);
  }

  // ---- Coroutines -----------------------------------------------------------------------------

  TEST_CASE("ContextVar: what a coroutine sets is not seen by its caller") {
    test::Loop loop;
    const auto at_once = []() -> Future<void> {
      ctx_var.set(2);
      co_return;
    };
    const auto later = []() -> Future<void> {
      ctx_var.set(3);
      co_await gen::moment;
      ctx_var.set(4);
    };
    const auto fails = []() -> Future<void> {
      ctx_var.set(5);
      throw CustomError("fails");
      co_return;
    };
    loop.run([&]() -> Future<void> {
      ctx_var.set(1);
      co_await at_once();
      CHECK(here() == 1);
      const Future<void> running = later();
      CHECK(here() == 1);
      co_await running;
      CHECK(here() == 1);
      CHECK_THROWS_AS(fails().result(), CustomError);
      CHECK(here() == 1);
    });
    // Outside of all coroutines and callbacks, too.
    at_once().result();
    CHECK(here() == 0);
    CHECK_THROWS_AS(fails().result(), CustomError);
    CHECK(here() == 0);
  }

  TEST_CASE("ContextVar: a coroutine begins with its caller's values, and keeps those") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const Future<void> gate;
      std::vector<int> seen;
      const auto callee = [&]() -> Future<void> {
        seen.push_back(here());
        co_await gate;
        seen.push_back(here());
      };
      ctx_var.set(1);
      const Future<void> running = callee();
      ctx_var.set(2);  // after the call
      gate.set_result();
      co_await running;
      CHECK(seen == std::vector<int>{1, 1});
      CHECK(here() == 2);
    });
  }

  TEST_CASE("ContextVar: is there after every kind of suspension, while others set theirs (G18)") {
    test::Loop loop;
    ThreadPoolExecutor executor(1);
    const auto busy = [&](int mine) -> Future<void> {
      CHECK(here() == 0);
      ctx_var.set(mine);
      const auto sets_another = []() -> Future<int> {
        co_await gen::moment;
        ctx_var.set(99);
        co_return here();
      };
      co_await gen::moment;
      CHECK(here() == mine);
      co_await gen::sleep(0s);
      CHECK(here() == mine);
      co_await sets_another();
      CHECK(here() == mine);
      co_await list(sets_another(), sets_another());
      CHECK(here() == mine);
      co_await gen::multi(sets_another(), gen::sleep(0s));
      CHECK(here() == mine);
      co_await gen::with_timeout(1h, sets_another());
      CHECK(here() == mine);
      co_await gen::timeout_after(1h, sets_another);
      CHECK(here() == mine);
      co_await gen::shield(sets_another());
      CHECK(here() == mine);
      co_await gen::settled(sets_another());
      CHECK(here() == mine);
      co_await gen::when_any(sets_another(), gen::sleep(1h));
      CHECK(here() == mine);
      gen::WaitIterator<int> results(sets_another());
      const auto result = co_await results.next();
      CHECK(result == 99);
      CHECK(here() == mine);
      const auto in_thread = [] { return here(); };
      const int there = co_await executor.submit(in_thread);
      CHECK(there == 0);
      CHECK(here() == mine);
      const auto calls_back = [&loop](std::function<void()> callback) {
        loop.add_callback([callback = std::move(callback)] {
          ctx_var.set(98);
          callback();
        });
      };
      co_await gen::Task(calls_back);
      CHECK(here() == mine);
      bool timed_out = false;
      try {
        co_await gen::with_timeout(0s, Future<void>());
      } catch (const TimeoutError&) {
        timed_out = true;
        CHECK(here() == mine);
      }
      CHECK(timed_out);
    };
    loop.run([&]() -> Future<void> {
      std::vector<Future<void>> all;
      for (int mine = 1; mine <= 5; ++mine) all.push_back(busy(mine));
      co_await all;
      CHECK(here() == 0);
    });
  }

  TEST_CASE("ContextVar: is there where a cancelled wait ends") {
    test::Loop loop;
    int seen = 0;
    const auto f = [&]() -> Future<void> {
      ctx_var.set(1);
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        seen = here();
        throw;
      }
    };
    const Future<void> future = f();
    future.cancel();
    loop.iterate(2);
    CHECK(future.cancelled());
    CHECK(seen == 1);
    CHECK(here() == 0);
  }

  TEST_CASE("ContextVar: whoever completes a Future does not lend its values to who awaits it") {
    test::Loop loop;
    const Future<void> gate;
    std::vector<int> seen;
    const auto waiter = [&](int mine) -> Future<void> {
      ctx_var.set(mine);
      co_await gate;
      seen.push_back(here());
    };
    const Future<void> a = waiter(1);
    const Future<void> b = waiter(2);
    loop.add_callback([&] {
      ctx_var.set(3);
      gate.set_result();
      CHECK(here() == 3);
    });
    loop.iterate(2);
    CHECK(seen == std::vector<int>{1, 2});
  }

  TEST_CASE("ContextVar: through ten thousand coroutines that call each other") {
    test::Loop loop;
    std::function<Future<int>(int)> deep = [&](int depth) -> Future<int> {
      ctx_var.set(depth);
      co_await gen::moment;
      int right = 0;
      if (depth > 0) right = co_await deep(depth - 1);
      if (here() == depth) ++right;
      co_return right;
    };
    CHECK(loop.run([&] { return deep(10'000); }) == 10'001);
  }

  TEST_CASE("ContextVar: children of a TaskGroup have the values of where they were begun") {
    test::Loop loop;
    std::vector<int> seen;
    const auto child = [&]() -> Future<void> {
      co_await gen::moment;
      seen.push_back(here());
      ctx_var.set(99);
    };
    loop.run([&]() -> Future<void> {
      const auto body = [&](TaskGroup& group) -> Future<void> {
        ctx_var.set(1);
        group.create_task(child);
        ctx_var.set(2);
        group.create_task(child);
        co_await gen::moment;
        CHECK(here() == 2);
      };
      co_await gen::task_group(body);
    });
    CHECK(seen == std::vector<int>{1, 2});
  }

  TEST_CASE("ContextVar: an engine's coroutine has its caller's values, and keeps its own") {
    test::Loop loop;
    std::vector<int> seen;
    const auto f = gen::engine([&]() -> Future<void> {
      seen.push_back(here());
      ctx_var.set(2);
      co_await gen::moment;
      seen.push_back(here());
    });
    loop.add_callback([&] {
      ctx_var.set(1);
      f();
      CHECK(here() == 1);
    });
    loop.iterate(3);
    CHECK(seen == std::vector<int>{1, 2});
  }

  // ---- Generators -----------------------------------------------------------------------------

  TEST_CASE("ContextVar: a generator has its caller's values, and keeps its own at each co_yield") {
    test::Loop loop;
    const auto values = []() -> gen::AsyncGenerator<int> {
      co_yield here();
      ctx_var.set(10);
      co_yield here();
      co_await gen::moment;
      co_yield here();
      ctx_var.set(11);
    };
    loop.run([&]() -> Future<void> {
      ctx_var.set(1);
      auto all = values();
      ctx_var.set(2);  // after the call
      std::vector<int> seen;
      while (const auto value = co_await all.next()) {
        CHECK(here() == 2);
        seen.push_back(*value);
      }
      CHECK(here() == 2);
      CHECK(seen == std::vector<int>{1, 10, 10});
    });
    CHECK(here() == 0);
  }

  TEST_CASE("ContextVar: a generator that fails, or is dropped, leaves its user's values alone") {
    test::Loop loop;
    const auto fails = []() -> gen::AsyncGenerator<int> {
      ctx_var.set(10);
      co_yield 1;
      throw CustomError("fails");
    };
    loop.run([&]() -> Future<void> {
      ctx_var.set(1);
      auto all = fails();
      const auto first = co_await all.next();
      CHECK(first == 1);
      const auto end = all.next();
      CHECK_THROWS_AS(end.result(), CustomError);
      CHECK(here() == 1);
      {
        auto dropped = fails();
        static_cast<void>(dropped.next());
        CHECK(here() == 1);
      }
      CHECK(here() == 1);
      co_return;
    });
  }

  // ---- Lifetimes ------------------------------------------------------------------------------

  TEST_CASE("ContextVar: a value goes when nothing that could see it is left") {
    using Value = std::shared_ptr<int>;
    const ContextVar<Value> var("var");
    test::Loop loop;
    const auto value = std::make_shared<int>(1);
    const Future<void> gate;
    const auto f = [&]() -> Future<void> {
      var.set(value);
      const Future<void> inner = [&]() -> Future<void> { co_await gate; }();
      co_await inner;
    };
    const Future<void> coroutine = f();
    loop.add_callback([&] { var.set(value); });
    loop.iterate(2);
    CHECK(value.use_count() == 2);  // it, and the coroutines'
    gate.set_result();
    loop.iterate(3);
    CHECK(coroutine.done());
    CHECK(value.use_count() == 1);

    {
      const auto token = var.set(value);
      CHECK(value.use_count() == 2);
      var.reset(token);
    }
    CHECK(value.use_count() == 1);

    std::thread thread([&] { var.set(value); });  // not reset
    thread.join();
    CHECK(value.use_count() == 1);
  }

  TEST_CASE("ContextVar: what a closed loop drops lets go of its values") {
    using Value = std::shared_ptr<int>;
    const ContextVar<Value> var("var");
    const auto value = std::make_shared<int>(1);
    const Future<void> never;
    {
      test::Loop loop;
      const auto suspended = [&]() -> Future<void> {
        var.set(value);
        co_await gen::sleep(1h);
      };
      static_cast<void>(suspended());
      const auto generator = [&]() -> gen::AsyncGenerator<int> {
        var.set(value);
        co_yield 1;
      };
      auto values = generator();
      static_cast<void>(values.next());
      loop.add_callback([&] {
        var.set(value);
        loop.call_later(1h, [] {});
        loop.add_callback([] {});
        never.add_done_callback([] {});
        loop.stop();
      });
      loop.wait();
      CHECK(value.use_count() > 1);
    }
    CHECK(value.use_count() == 1);
  }

  TEST_CASE("ContextVar: is neither copied nor moved, takes what can be copied") {
    static_assert(!std::is_copy_constructible_v<ContextVar<int>>);
    static_assert(!std::is_copy_assignable_v<ContextVar<int>>);
    static_assert(std::is_copy_constructible_v<ContextVar<int>::Token>);
    const ContextVar<std::vector<std::string>> var("var", {"a", "b"});
    auto copy = var.get();
    copy.emplace_back("c");
    CHECK(var.get().size() == 2);
  }
}
