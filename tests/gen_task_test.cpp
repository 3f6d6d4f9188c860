// SPDX-License-Identifier: Apache-2.0
//
// Coroutines among functions that take callbacks, or may be coroutines or not: Task, maybe_future,
// is_coroutine_function.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;
using test::divide_by_zero;

TEST_SUITE("gen") {
  // ---- Task -----------------------------------------------------------------------------------

  TEST_CASE("gen.Task: calls the function at once, and waits for its callback") {
    test::Loop loop;
    std::function<void(std::string)> answer;
    std::string asked;
    const auto lookup = [&](const std::string& address, std::function<void(std::string)> callback) {
      asked = address;
      answer = std::move(callback);
      return 7;  // what it returns is not used
    };
    const auto name = gen::Task<std::string>(lookup, "127.0.0.1");
    CHECK(asked == "127.0.0.1");
    CHECK_FALSE(name.done());
    std::string got;
    const auto reader = [&]() -> Future<void> { got = co_await name; };
    const Future<void> read = reader();
    answer("localhost");
    CHECK(name.done());
    CHECK(got.empty());
    loop.iterate();
    CHECK(got == "localhost");
    CHECK(read.done());
  }

  TEST_CASE("gen.Task: a callback that is called inside the function") {
    const auto inside = [](const std::function<void(int)>& callback) { callback(5); };
    const auto task = gen::Task<int>(inside);
    CHECK(task.done());
    CHECK(task.result() == 5);
    const auto nothing = [](const auto& callback) { callback(); };
    CHECK(gen::Task(nothing).done());
  }

  TEST_CASE("gen.Task: takes members, and what can only be called once") {
    struct Table {
      int size;
      void ask(int extra, const std::function<void(int)>& callback) const {
        callback(size + extra);
      }
    };
    const Table table{40};
    CHECK(gen::Task<int>(&Table::ask, &table, 2).result() == 42);
    auto once = [value = std::make_unique<int>(9)](
                    std::unique_ptr<int> more, const std::function<void(int)>& callback) mutable {
      callback(*std::exchange(value, nullptr) + *more);
    };
    CHECK(gen::Task<int>(std::move(once), std::make_unique<int>(1)).result() == 10);
  }

  TEST_CASE("gen.Task: the callback takes what the result can be made of") {
    const auto literal = [](const auto& callback) { callback("text"); };
    CHECK(gen::Task<std::string>(literal).result() == "text");
    const auto two = [](const auto& callback) { callback(std::size_t{3}, 'x'); };
    CHECK(gen::Task<std::string>(two).result() == "xxx");
    const auto none = [](const auto& callback) { callback(); };
    CHECK(gen::Task<std::string>(none).result().empty());
    const auto moved = [](const auto& callback) { callback(std::make_unique<int>(8)); };
    CHECK(*gen::Task<std::unique_ptr<int>>(moved).result() == 8);
    // Whoever wants no result need not know what the callback is given.
    CHECK(gen::Task(two).done());
  }

  TEST_CASE("gen.Task: the callback may be copied, and any copy called") {
    test::Loop loop;
    std::vector<std::function<void(int)>> copies;
    const auto share = [&](const std::function<void(int)>& callback) {
      copies = {callback, callback, callback};
    };
    const auto task = gen::Task<int>(share);
    copies.pop_back();
    copies.front()(1);
    CHECK(task.result() == 1);
    copies.clear();
    CHECK(task.result() == 1);
  }

  TEST_CASE("gen.Task: what the function throws arrives through the Future") {
    const auto fails = [](const std::function<void(int)>&) { throw CustomError("at the start"); };
    const auto task = gen::Task<int>(fails);
    REQUIRE(task.done());
    CHECK_THROWS_WITH_AS(task.result(), "at the start", CustomError);

    // Also when somebody has the callback, which does nothing any more when it goes.
    std::function<void(int)> kept;
    const auto keeps = [&](const std::function<void(int)>& callback) {
      kept = callback;
      throw CustomError("after keeping");
    };
    const auto other = gen::Task<int>(keeps);
    CHECK_THROWS_WITH_AS(other.result(), "after keeping", CustomError);
    kept = nullptr;
    CHECK_THROWS_WITH_AS(other.result(), "after keeping", CustomError);
  }

  TEST_CASE("gen.Task: what the function throws behind its callback is not lost") {
    const auto fails = [](const std::function<void(int)>& callback) {
      callback(1);
      throw CustomError("too late for the Future");
    };
    CHECK_THROWS_WITH_AS(static_cast<void>(gen::Task<int>(fails)), "too late for the Future",
                         CustomError);
  }

  TEST_CASE("gen.Task: a callback that is dropped uncalled breaks the promise") {
    test::Loop loop;
    const auto drops = [](const std::function<void(int)>&) {};
    const auto task = gen::Task<int>(drops);
    REQUIRE(task.done());
    CHECK_THROWS_AS(task.result(), std::future_error);
    try {
      task.result();
    } catch (const std::future_error& e) {
      CHECK(e.code() == std::future_errc::broken_promise);
    }

    // The last copy counts.
    std::function<void()> first;
    std::function<void()> second;
    const auto share = [&](const std::function<void()>& callback) { first = second = callback; };
    const auto waiting = gen::Task(share);
    first = nullptr;
    CHECK_FALSE(waiting.done());
    second = nullptr;
    CHECK(waiting.done());
    CHECK_THROWS_AS(waiting.result(), std::future_error);
  }

  // Tornado 4 threw it into the coroutine, by way of the stack_context.
  TEST_CASE("gen.Task: what fails in place of the callback is logged, and the await ends") {
    test::Loop loop;
    const auto fail_task = [&](const std::function<void()>& callback) {
      loop.add_callback([callback] { divide_by_zero(); });
    };
    const test::ExpectLog expected(log::app_log, "division by zero");
    loop.run([&]() -> Future<void> {
      bool broken = false;
      try {
        co_await gen::Task(fail_task);
      } catch (const std::future_error&) {
        broken = true;
      }
      CHECK(broken);
    });
    CHECK(expected.count() == 1);
  }

  TEST_CASE("gen.Task: after it was cancelled the callback does nothing, called or dropped") {
    test::Loop loop;
    std::function<void(int)> kept;
    const auto keep = [&](const std::function<void(int)>& callback) { kept = callback; };
    const auto called = gen::Task<int>(keep);
    CHECK(called.cancel());
    CHECK(called.cancelled());
    kept(1);
    CHECK(called.cancelled());
    const auto dropped = gen::Task<int>(keep);
    dropped.cancel();
    kept = nullptr;
    CHECK(dropped.cancelled());
  }

  TEST_CASE("gen.Task: cancelling who awaits it ends the wait, not the function's work") {
    test::Loop loop;
    std::function<void(int)> kept;
    const auto keep = [&](const std::function<void(int)>& callback) { kept = callback; };
    std::string order;
    const auto f = [&]() -> Future<void> {
      try {
        co_await gen::Task<int>(keep);
      } catch (const CancelledError&) {
        order += "cancelled";
        throw;
      }
    };
    const Future<void> future = f();
    future.cancel();
    loop.iterate(2);
    CHECK(future.cancelled());
    CHECK(order == "cancelled");
    kept(1);  // its Future is gone
    kept = nullptr;
  }

  TEST_CASE("gen.Task: a callback whose Future nobody holds does no harm") {
    test::Loop loop;
    std::function<void(int)> kept;
    const auto keep = [&](const std::function<void(int)>& callback) { kept = callback; };
    static_cast<void>(gen::Task<int>(keep));
    kept(1);
    static_cast<void>(gen::Task<int>(keep));
    kept = nullptr;  // no error either, for there is nobody to see it
    loop.iterate();

    // A done-callback is somebody.
    bool broken = false;
    gen::Task<int>(keep).add_done_callback([&](const Future<int>& f) {
      CHECK_THROWS_AS(f.result(), std::future_error);
      broken = true;
    });
    kept = nullptr;
    loop.iterate();
    CHECK(broken);
  }

  TEST_CASE("gen.Task: when the loop closes it is cancelled, and logs nothing") {
    const auto later = [](std::function<void()> callback) {
      IOLoop::current().call_later(1h, std::move(callback));
    };
    std::optional<Future<void>> held;
    Future<void> awaiting;
    {
      test::Loop loop;
      held = gen::Task(later);
      const auto f = [&]() -> Future<void> { co_await gen::Task(later); };
      awaiting = f();
      loop.iterate();
    }
    CHECK(held->cancelled());
    CHECK(awaiting.cancelled());
  }

  // ---- maybe_future ---------------------------------------------------------------------------

  TEST_CASE("gen.maybe_future: a Future is itself, anything else one that is done") {
    const Future<int> pending;
    const auto same = gen::maybe_future(pending);
    pending.set_result(5);
    CHECK(same.result() == 5);

    const auto number = gen::maybe_future(7);
    static_assert(std::is_same_v<decltype(number), const Future<int>>);
    CHECK(number.result() == 7);
    const std::string text = "text";
    const auto copied = gen::maybe_future(text);
    static_assert(std::is_same_v<decltype(copied), const Future<std::string>>);
    CHECK(copied.result() == "text");
    const auto moved = gen::maybe_future(std::make_unique<int>(8));
    CHECK(*moved.result() == 8);
    const auto none = gen::maybe_future();
    static_assert(std::is_same_v<decltype(none), const Future<void>>);
    CHECK(none.done());

    const auto failed = gen::maybe_future(
        make_exception_future<int>(std::make_exception_ptr(std::runtime_error("failed"))));
    CHECK_THROWS_WITH_AS(failed.result(), "failed", std::runtime_error);
  }

  // ---- is_coroutine_function ------------------------------------------------------------------

  TEST_CASE("gen.is_coroutine_function: whether a call returns a Future") {
    const auto coroutine = [](int n) -> Future<int> { co_return n; };
    const auto plain = [](int n) { return n; };
    const auto generic = [](auto n) -> Future<decltype(n)> { co_return n; };
    CHECK(gen::is_coroutine_function(coroutine));
    CHECK_FALSE(gen::is_coroutine_function(plain));
    CHECK(gen::is_coroutine_function<int>(coroutine));
    CHECK(gen::is_coroutine_function<int>(generic));
    CHECK(gen::is_coroutine_function(&test::add_one_async));
    CHECK_FALSE(gen::is_coroutine_function(&divide_by_zero));
    CHECK_FALSE(gen::is_coroutine_function(gen::engine(coroutine)));
  }
}
