// SPDX-License-Identifier: Apache-2.0
//
// Waiting for several Futures at a time.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

using namespace tornado;
using test::async_future;
using test::CustomError;
using test::error_of;
using test::fails_with;
using test::list;

TEST_SUITE("gen") {
  // ---- multi ----------------------------------------------------------------------------------

  TEST_CASE("gen.multi: waits for all, also when one fails early (G9)") {
    test::Loop loop;
    bool slow_ended = false;
    const auto slow = [&]() -> Future<int> {
      for (int i = 0; i < 5; ++i) co_await gen::moment;
      slow_ended = true;
      co_return 1;
    };
    CHECK(loop.run([&] { return error_of(gen::multi(list(fails_with("early"), slow()))); }) ==
          "early");
    CHECK(slow_ended);
  }

  TEST_CASE("gen.multi: the first error in order of the arguments, not of time (G9)") {
    test::Loop loop;
    const auto late = []() -> Future<int> {
      for (int i = 0; i < 5; ++i) co_await gen::moment;
      throw CustomError("late");
    };
    const test::ExpectLog expected(log::app_log, "early");
    CHECK(loop.run([&] { return error_of(gen::multi(list(late(), fails_with("early")))); }) ==
          "late");
    CHECK(expected.count() == 1);
  }

  TEST_CASE(
      "gen.multi: the error of one that stands there twice is thrown, not logged as well (G9)") {
    test::Loop loop;
    const Future<int> fails = fails_with("twice");
    CHECK(loop.run([&] { return error_of(gen::multi(list(fails, async_future(1), fails))); }) ==
          "twice");
  }

  TEST_CASE("gen.multi: of different types gives a tuple, of Futures without values nothing") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto nothing = []() -> Future<void> { co_await gen::moment; };
      const auto [number, text, none] =
          co_await gen::multi(async_future(1), async_future(std::string("two")), nothing());
      CHECK(number == 1);
      CHECK(text == "two");
      static_assert(std::is_same_v<decltype(none), const std::monostate>);
      std::vector<Future<void>> voids;
      voids.push_back(nothing());
      voids.push_back(nothing());
      co_await voids;
      for (const auto& each : voids) CHECK(each.done());
      std::map<char, Future<void>> void_map;
      void_map.emplace('a', nothing());
      co_await void_map;
      CHECK(void_map.at('a').done());
      auto moving = gen::multi(async_future(std::make_unique<int>(3)), async_future(4));
      const auto [moved, four] = co_await std::move(moving);
      CHECK(*moved == 3);
      CHECK(four == 4);
      const auto from_tuple = co_await std::tuple(async_future(5), async_future('6'));
      CHECK(from_tuple == std::tuple(5, '6'));
    });
  }

  TEST_CASE("gen.multi: what is done already is not waited for") {
    CHECK(gen::multi(make_ready_future(1), make_ready_future(2)).result() == std::tuple(1, 2));
    CHECK(gen::multi(list(make_ready_future(1), make_ready_future(2))).result() ==
          std::vector{1, 2});
    test::Loop loop;
    CHECK(loop.run([] { return gen::multi(make_ready_future(1), async_future(2)); }) ==
          std::tuple(1, 2));
  }

  TEST_CASE("gen.multi: a child that was cancelled counts as one that failed") {
    test::Loop loop;
    const Future<int> cancelled;
    cancelled.cancel();
    CHECK(loop.run([&] { return error_of(gen::multi(list(cancelled, async_future(1)))); }) ==
          "cancelled");
    CHECK(loop.run([&] { return error_of(gen::multi(list(fails_with("first"), cancelled))); }) ==
          "first");
  }

  // Python: gen_test.RunnerGCTest.test_multi_moment
  TEST_CASE("gen.multi: takes gen.moment and whatever can be awaited (G10)") {
    test::Loop loop;
    const auto wait_a_moment = []() -> Future<std::tuple<std::monostate, std::monostate>> {
      co_return co_await gen::multi(gen::moment, gen::moment);
    };
    CHECK(loop.run(wait_a_moment) == std::tuple(std::monostate(), std::monostate()));
    loop.run([]() -> Future<void> {
      const auto [ticket, number, inner] =
          co_await gen::multi(user::Ticket{7}, async_future(8), list(async_future(9)));
      CHECK(ticket == 7);
      CHECK(number == 8);
      CHECK(inner == std::vector{9});
    });
  }

  TEST_CASE("gen.convert_yielded: an overload makes a type awaitable") {
    CHECK(gen::ConvertibleToFuture<user::Ticket>);
    test::Loop loop;
    const int result = loop.run([]() -> Future<int> { co_return co_await user::Ticket{12}; });
    CHECK(result == 12);
  }
}
