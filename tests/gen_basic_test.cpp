// SPDX-License-Identifier: Apache-2.0
//
// Ports of Tornado's GenBasicTest.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tornado;
using test::add_one_async;
using test::async_future;
using test::divide_by_zero;
using test::error_of;
using test::fails_with;
using test::KeyError;
using test::list;
using test::ZeroDivisionError;

namespace {

/// Returns `arg` after a number of iterations.
template <class T>
Future<T> delay(int iterations, T arg) {
  for (int i = 0; i < iterations; ++i) co_await gen::moment;
  co_return arg;
}

}  // namespace

TEST_SUITE("gen") {
  // ---- Ports of GenBasicTest ------------------------------------------------------------------

  // Python: gen_test.GenBasicTest.test_no_yield
  TEST_CASE("GenBasic: a coroutine without a wait") {
    test::Loop loop;
    bool called = false;
    loop.run([&]() -> Future<void> {
      called = true;
      co_return;
    });
    CHECK(called);
  }

  // Python: gen_test.GenBasicTest.test_exception_phase1
  TEST_CASE("GenBasic: an exception before the first wait (G15)") {
    test::Loop loop;
    CHECK_THROWS_AS(loop.run([]() -> Future<void> {
      divide_by_zero();
      co_return;
    }),
                    ZeroDivisionError);
  }

  // Python: gen_test.GenBasicTest.test_exception_phase2
  TEST_CASE("GenBasic: an exception after a wait") {
    test::Loop loop;
    CHECK_THROWS_AS(loop.run([]() -> Future<void> {
      co_await gen::moment;
      divide_by_zero();
    }),
                    ZeroDivisionError);
  }

  // What Python refuses when it runs does not compile here.
  // Python: gen_test.GenBasicTest.test_bogus_yield
  TEST_CASE("GenBasic: a number cannot be awaited") {
    CHECK_FALSE(gen::ConvertibleToFuture<int>);
    CHECK_FALSE(gen::ConvertibleToFuture<std::string>);
  }

  // Python: gen_test.GenBasicTest.test_bogus_yield_tuple
  TEST_CASE("GenBasic: a tuple of numbers cannot be awaited") {
    CHECK_FALSE(gen::ConvertibleToFuture<std::tuple<int, int>>);
    CHECK_FALSE(gen::ConvertibleToFuture<std::vector<int>>);
  }

  // Python: gen_test.GenBasicTest.test_reuse
  TEST_CASE("GenBasic: a coroutine function can be called again") {
    test::Loop loop;
    int calls = 0;
    const auto f = [&]() -> Future<void> {
      co_await gen::moment;
      ++calls;
    };
    loop.run(f);
    loop.run(f);
    CHECK(calls == 2);
  }

  // `yield None`, which lets one iteration pass, is `co_await gen::moment` here.
  // Python: gen_test.GenBasicTest.test_none
  TEST_CASE("GenBasic: a wait for nothing in particular") {
    test::Loop loop;
    bool finished = false;
    loop.run([&]() -> Future<void> {
      co_await gen::moment;
      finished = true;
    });
    CHECK(finished);
  }

  // Python: gen_test.GenBasicTest.test_multi
  TEST_CASE("GenBasic: a list of coroutines") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const std::vector<int> results = co_await list(add_one_async(1), add_one_async(2));
      CHECK(results == std::vector{2, 3});
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_dict
  TEST_CASE("GenBasic: a map of coroutines") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      std::map<std::string, Future<int>> children;
      children.emplace("foo", add_one_async(1));
      children.emplace("bar", add_one_async(2));
      const std::map<std::string, int> results = co_await children;
      CHECK(results == std::map<std::string, int>{{"foo", 2}, {"bar", 3}});
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_delayed
  TEST_CASE("GenBasic: a list whose members end at different times") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const std::vector<std::string> responses =
          co_await gen::multi(list(delay(3, std::string("v1")), delay(1, std::string("v2"))));
      CHECK(responses == std::vector<std::string>{"v1", "v2"});
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_dict_delayed
  TEST_CASE("GenBasic: a map whose members end at different times") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      std::map<std::string, Future<std::string>> children;
      children.emplace("foo", delay(3, std::string("v1")));
      children.emplace("bar", delay(1, std::string("v2")));
      const std::map<std::string, std::string> responses = co_await gen::multi(children);
      CHECK(responses == std::map<std::string, std::string>{{"foo", "v1"}, {"bar", "v2"}});
    });
  }

  // Python measures that it takes less than a second; here it is counted what it costs.
  // Python: gen_test.GenBasicTest.test_multi_performance
  TEST_CASE("GenBasic: a list of two thousand is done when one iteration has passed") {
    test::Loop loop;
    int iterations = 0;
    std::function<void()> count = [&] {
      ++iterations;
      loop.add_callback(std::ref(count));
    };
    loop.add_callback(std::ref(count));
    loop.run([&]() -> Future<void> {
      std::vector<Future<int>> children;
      children.reserve(2000);
      for (int i = 0; i < 2000; ++i) children.push_back(async_future(i));
      const int before = iterations;
      const std::vector<int> results = co_await children;
      CHECK(iterations - before < 10);
      CHECK(results.size() == 2000);
      CHECK(results.back() == 1999);
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_empty
  TEST_CASE("GenBasic: an empty list or map is done at once (G10)") {
    test::Loop loop;
    CHECK(gen::multi(std::vector<Future<int>>()).done());
    CHECK(gen::multi().done());
    loop.run([]() -> Future<void> {
      const auto x = co_await std::vector<Future<int>>();
      static_assert(std::is_same_v<decltype(x), const std::vector<int>>);
      CHECK(x.empty());
      const auto y = co_await std::map<std::string, Future<int>>();
      static_assert(std::is_same_v<decltype(y), const std::map<std::string, int>>);
      CHECK(y.empty());
      co_await std::vector<Future<void>>();
    });
  }

  // Python: gen_test.GenBasicTest.test_future
  TEST_CASE("GenBasic: a Future") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const int result = co_await async_future(1);
      CHECK(result == 1);
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_future
  TEST_CASE("GenBasic: a list of Futures") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const std::vector<int> results = co_await list(async_future(1), async_future(2));
      CHECK(results == std::vector{1, 2});
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_future_duplicate
  TEST_CASE("GenBasic: a list in which a Future stands twice (G10)") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const Future<int> f = async_future(2);
      const std::vector<int> results = co_await list(async_future(1), f, async_future(3), f);
      CHECK(results == std::vector{1, 2, 3, 2});
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_dict_future
  TEST_CASE("GenBasic: a map of Futures") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      std::map<std::string, Future<int>> children;
      children.emplace("foo", async_future(1));
      children.emplace("bar", async_future(2));
      const std::map<std::string, int> results = co_await children;
      CHECK(results == std::map<std::string, int>{{"foo", 1}, {"bar", 2}});
    });
  }

  // Python: gen_test.GenBasicTest.test_multi_exceptions
  TEST_CASE("GenBasic: multi throws the first error in order and logs the others (G9)") {
    test::Loop loop;
    const auto first_error = [](std::vector<Future<int>> children,
                                gen::Quiet quiet = nullptr) -> Future<std::string> {
      co_return co_await error_of(gen::multi(std::move(children), quiet));
    };
    {
      const test::ExpectLog expected(log::app_log, "Multiple exceptions in yield list");
      CHECK(loop.run([&] {
        return first_error(list(fails_with("error 1"), fails_with("error 2")));
      }) == "error 1");
      CHECK(expected.count() == 1);
    }
    // With only one exception, no error is logged.
    CHECK(loop.run([&] { return first_error(list(fails_with("error 1"), async_future(2))); }) ==
          "error 1");
    // Exception logging may be explicitly quieted.
    CHECK(loop.run([&] {
      return first_error(list(fails_with("error 1"), fails_with("error 2")),
                         gen::quiet<std::runtime_error>);
    }) == "error 1");
  }

  // Python: gen_test.GenBasicTest.test_multi_future_exceptions
  TEST_CASE("GenBasic: a list throws the first error in order and logs the others (G9)") {
    test::Loop loop;
    const auto first_error = [](std::vector<Future<int>> children) -> Future<std::string> {
      try {
        co_await children;
      } catch (const std::runtime_error& e) {
        co_return e.what();
      }
      co_return "";
    };
    {
      const test::ExpectLog expected(log::app_log, "Multiple exceptions in yield list");
      CHECK(loop.run([&] {
        return first_error(list(fails_with("error 1"), fails_with("error 2")));
      }) == "error 1");
      CHECK(expected.count() == 1);
    }
    CHECK(loop.run([&] { return first_error(list(fails_with("error 1"), async_future(2))); }) ==
          "error 1");
    const test::ExpectLog not_quiet(log::app_log, "Multiple exceptions in yield list");
    std::map<int, Future<int>> children;
    children.emplace(1, fails_with("error 1"));
    children.emplace(2, fails_with("error 2"));
    CHECK(loop.run([&] {
      return error_of(gen::multi(children, gen::quiet<std::runtime_error>));
    }) == "error 1");
    CHECK(not_quiet.count() == 0);
    CHECK(loop.run([&] {
      return error_of(
          gen::multi(list(fails_with("error 1"), fails_with("error 2")), gen::quiet<KeyError>));
    }) == "error 1");
    CHECK(not_quiet.count() == 1);
  }

  // Python: gen_test.GenBasicTest.test_sync_raise_return
  TEST_CASE("GenBasic: co_return without a value, before a wait") {
    test::Loop loop;
    loop.run([]() -> Future<void> { co_return; });
  }

  // Python: gen_test.GenBasicTest.test_async_raise_return
  TEST_CASE("GenBasic: co_return without a value, after a wait") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      co_await gen::moment;
      co_return;
    });
  }

  // Python: gen_test.GenBasicTest.test_sync_raise_return_value
  TEST_CASE("GenBasic: co_return of a value, before a wait") {
    test::Loop loop;
    CHECK(loop.run([]() -> Future<int> { co_return 42; }) == 42);
  }

  // Python: gen_test.GenBasicTest.test_sync_raise_return_value_tuple
  TEST_CASE("GenBasic: co_return of a tuple, before a wait") {
    test::Loop loop;
    CHECK(loop.run([]() -> Future<std::tuple<int, int>> { co_return std::tuple(1, 2); }) ==
          std::tuple(1, 2));
  }

  // Python: gen_test.GenBasicTest.test_async_raise_return_value
  TEST_CASE("GenBasic: co_return of a value, after a wait") {
    test::Loop loop;
    CHECK(loop.run([]() -> Future<int> {
      co_await gen::moment;
      co_return 42;
    }) == 42);
  }

  // Python: gen_test.GenBasicTest.test_async_raise_return_value_tuple
  TEST_CASE("GenBasic: co_return of a tuple, after a wait") {
    test::Loop loop;
    CHECK(loop.run([]() -> Future<std::tuple<int, int>> {
      co_await gen::moment;
      co_return std::tuple(1, 2);
    }) == std::tuple(1, 2));
  }
}
