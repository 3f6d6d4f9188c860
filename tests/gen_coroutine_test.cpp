// SPDX-License-Identifier: Apache-2.0
//
// Ports of Tornado's GenCoroutineTest.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::divide_by_zero;
using test::KeyError;
using test::list;
using test::ZeroDivisionError;

TEST_SUITE("gen") {
  // ---- Ports of GenCoroutineTest --------------------------------------------------------------
  // Its original checks with a flag that each test runs to its end; Loop.run returns only then.

  // Python: gen_test.GenCoroutineTest.test_sync_gen_return
  // Python: gen_test.GenCoroutineTest.test_sync_return
  TEST_CASE("GenCoroutine: a value returned before a wait") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = []() -> Future<int> { co_return 42; };
      const int result = co_await f();
      CHECK(result == 42);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_async_gen_return
  // Python: gen_test.GenCoroutineTest.test_async_return
  TEST_CASE("GenCoroutine: a value returned after a wait") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = []() -> Future<int> {
        co_await gen::moment;
        co_return 42;
      };
      const int result = co_await f();
      CHECK(result == 42);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_async_early_return
  TEST_CASE("GenCoroutine: a value returned ahead of a wait that is never reached") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = [](bool early) -> Future<int> {
        if (early) co_return 42;
        co_await Future<void>();
        co_return 0;
      };
      const int result = co_await f(true);
      CHECK(result == 42);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_async_await
  TEST_CASE("GenCoroutine: a coroutine that awaits a coroutine") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f1 = []() -> Future<int> {
        co_await gen::moment;
        co_return 42;
      };
      const auto f2 = [&]() -> Future<int> {
        const int result = co_await f1();
        co_return result;
      };
      const int result = co_await f2();
      CHECK(result == 42);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_asyncio_sleep_zero
  TEST_CASE("GenCoroutine: a sleep of no length") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = []() -> Future<int> {
        co_await gen::sleep(0s);
        co_return 42;
      };
      const int result = co_await f();
      CHECK(result == 42);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_async_await_mixed_multi_native_future
  TEST_CASE("GenCoroutine: a list of coroutines, one of which awaits another") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f1 = []() -> Future<void> { co_await gen::moment; };
      const auto f2 = [&]() -> Future<int> {
        co_await f1();
        co_return 42;
      };
      const auto f3 = []() -> Future<int> {
        co_await gen::moment;
        co_return 43;
      };
      const std::vector<int> results = co_await list(f2(), f3());
      CHECK(results == std::vector{42, 43});
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_async_with_timeout
  TEST_CASE("GenCoroutine: with_timeout takes what a coroutine returned") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f1 = []() -> Future<int> { co_return 42; };
      const int result = co_await gen::with_timeout(1h, f1());
      CHECK(result == 42);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_sync_return_no_value
  TEST_CASE("GenCoroutine: no value returned before a wait") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = []() -> Future<void> { co_return; };
      co_await f();
      static_assert(std::is_void_v<decltype(f().result())>);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_async_return_no_value
  TEST_CASE("GenCoroutine: no value returned after a wait") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = []() -> Future<void> {
        co_await gen::moment;
        co_return;
      };
      co_await f();
      static_assert(std::is_void_v<decltype(f().result())>);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_sync_raise
  TEST_CASE(
      "GenCoroutine: an exception before a wait is thrown by the await, not by the call (G15)") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = []() -> Future<void> {
        divide_by_zero();
        co_return;
      };
      const Future<void> future = f();
      try {
        co_await future;
      } catch (const ZeroDivisionError&) {
        finished = true;
      }
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_async_raise
  TEST_CASE("GenCoroutine: an exception after a wait is thrown by the await") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f = []() -> Future<void> {
        co_await gen::moment;
        divide_by_zero();
      };
      const Future<void> future = f();
      try {
        co_await future;
      } catch (const ZeroDivisionError&) {
        finished = true;
      }
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_replace_yieldpoint_exception
  TEST_CASE("GenCoroutine: an exception caught from an await may be replaced by another") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f1 = []() -> Future<void> {
        divide_by_zero();
        co_return;
      };
      const auto f2 = [&]() -> Future<void> {
        try {
          co_await f1();
        } catch (const ZeroDivisionError&) {
          throw KeyError();
        }
      };
      const Future<void> future = f2();
      try {
        co_await future;
      } catch (const KeyError&) {
        finished = true;
      }
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_swallow_yieldpoint_exception
  TEST_CASE("GenCoroutine: an exception caught from an await may be swallowed") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      const auto f1 = []() -> Future<void> {
        divide_by_zero();
        co_return;
      };
      const auto f2 = [&]() -> Future<int> {
        try {
          co_await f1();
        } catch (const ZeroDivisionError&) {
          co_return 42;
        }
        co_return 0;
      };
      const int result = co_await f2();
      CHECK(result == 42);
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_moment
  TEST_CASE("gen.moment: coroutines take turns with it, and not without (G13)") {
    test::Loop loop;
    std::string calls;
    bool finished = false;
    const Future<void> immediate = make_ready_future();
    loop.run([&]() -> Future<void> {
      const auto f = [&](char name, bool with_moment) -> Future<void> {
        for (int i = 0; i < 5; ++i) {
          calls += name;
          if (with_moment) {
            co_await gen::moment;
          } else {
            co_await immediate;
          }
        }
      };
      // First, without moment: each coroutine keeps the loop until it ends.
      co_await list(f('a', false), f('b', false));
      CHECK(calls == "aaaaabbbbb");
      // With moment, they take turns.
      calls.clear();
      co_await list(f('a', true), f('b', true));
      CHECK(calls == "ababababab");
      calls.clear();
      co_await list(f('a', true), f('b', false));
      CHECK(calls == "abbbbbaaaa");
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenCoroutineTest.test_sleep
  TEST_CASE("gen.sleep: lasts at least as long as it was told") {
    test::Loop loop;
    bool finished = false;
    const auto before = IOLoop::Clock::now();
    loop.run([&]() -> Future<void> {
      co_await gen::sleep(10ms);
      finished = true;
    });
    CHECK(finished);
    CHECK(IOLoop::Clock::now() >= before + 10ms);
  }

  // Python: gen_test.GenCoroutineTest.test_coroutine_refcounting
  TEST_CASE("GenCoroutine: locals go as soon as the coroutine has failed") {
    test::Loop loop;
    std::weak_ptr<int> local_ref;
    const auto inner = [&]() -> Future<void> {
      const auto local_var = std::make_shared<int>();
      local_ref = local_var;
      const auto dummy = []() -> Future<void> { co_return; };
      co_await dummy();
      throw std::invalid_argument("Some error");
    };
    const auto inner2 = [&]() -> Future<void> {
      try {
        co_await inner();
      } catch (const std::invalid_argument&) {
        CHECK(local_ref.expired());
      }
    };
    loop.run(inner2);
    CHECK(local_ref.expired());
  }
}
