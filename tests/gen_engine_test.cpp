// SPDX-License-Identifier: Apache-2.0
//
// gen::engine. First the ports of Tornado 4's GenEngineTest, most of which use gen::Task.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::async_exception;
using test::async_future;
using test::CustomError;
using test::divide_by_zero;
using test::error_of;
using test::list;
using test::Note;
using test::ZeroDivisionError;

namespace {

/// The loop of a GenEngineTest.
class EngineLoop : public test::Loop {
 public:
  /// Python: `AsyncTestCase.stop`.
  void stop_with(int result) {
    result_ = result;
    stop();
  }
  /// Calls `engine` and runs the loop until that stops it; throws what leaves the engine.
  template <class Engine>
  std::optional<int> run_gen(Engine engine) {
    std::exception_ptr error;
    set_exception_handler([&](std::exception_ptr escaped) {
      error = std::move(escaped);
      stop();
    });
    add_callback(std::move(engine));
    wait();
    set_exception_handler({});
    if (error) std::rethrow_exception(error);
    return std::exchange(result_, std::nullopt);
  }

 private:
  std::optional<int> result_;
};

/// Python's `self.io_loop.add_callback` as what gen.Task calls.
void add_callback(std::function<void()> callback) {
  IOLoop::current().add_callback(std::move(callback));
}

using TakesText = std::function<void(std::string)>;

/// Runs callback(arg) after a number of IOLoop iterations.
void delay_callback(int iterations, std::string arg, TakesText callback) {
  if (iterations == 0) {
    callback(std::move(arg));
  } else {
    IOLoop::current().add_callback(delay_callback, iterations - 1, std::move(arg),
                                   std::move(callback));
  }
}

std::exception_ptr runtime_error(const char* what) {
  return std::make_exception_ptr(std::runtime_error(what));
}

}  // namespace

TEST_SUITE("gen") {
  // ---- Ports of GenEngineTest -----------------------------------------------------------------

  // Python: gen_test.GenEngineTest.test_no_yield
  TEST_CASE("GenEngine: an engine without a wait") {
    EngineLoop loop;
    const auto f = gen::engine([&]() -> Future<void> {
      loop.stop();
      co_return;
    });
    loop.run_gen(f);
  }

  // Python: gen_test.GenEngineTest.test_exception_phase1
  TEST_CASE("GenEngine: an exception before the first wait") {
    EngineLoop loop;
    const auto f = gen::engine([]() -> Future<void> {
      divide_by_zero();
      co_return;
    });
    CHECK_THROWS_AS(loop.run_gen(f), ZeroDivisionError);
  }

  // Python: gen_test.GenEngineTest.test_exception_phase2
  TEST_CASE("GenEngine: an exception after a wait") {
    EngineLoop loop;
    const auto f = gen::engine([]() -> Future<void> {
      co_await gen::Task(add_callback);
      divide_by_zero();
    });
    CHECK_THROWS_AS(loop.run_gen(f), ZeroDivisionError);
  }

  // Python: gen_test.GenEngineTest.test_exception_in_task_phase1
  TEST_CASE("GenEngine: an exception that a task's function throws is thrown by the await") {
    EngineLoop loop;
    bool caught = false;
    const auto f = gen::engine([&]() -> Future<void> {
      const auto fail_task = [](const std::function<void()>&) { divide_by_zero(); };
      try {
        co_await gen::Task(fail_task);
      } catch (const ZeroDivisionError&) {
        caught = true;
        loop.stop();
      }
    });
    loop.run_gen(f);
    CHECK(caught);
  }

  // Python: gen_test.GenEngineTest.test_reuse
  TEST_CASE("GenEngine: an engine can be called again") {
    EngineLoop loop;
    int calls = 0;
    const auto f = gen::engine([&]() -> Future<void> {
      co_await gen::Task(add_callback);
      ++calls;
      loop.stop();
    });
    loop.run_gen(f);
    loop.run_gen(f);
    CHECK(calls == 2);
  }

  // Python: gen_test.GenEngineTest.test_task
  TEST_CASE("GenEngine: a task") {
    EngineLoop loop;
    const auto f = gen::engine([&]() -> Future<void> {
      co_await gen::Task(add_callback);
      loop.stop();
    });
    loop.run_gen(f);
  }

  // `yield None` is `co_await gen::moment` here.
  // Python: gen_test.GenEngineTest.test_none
  TEST_CASE("GenEngine: a wait for nothing in particular") {
    EngineLoop loop;
    const auto f = gen::engine([&]() -> Future<void> {
      co_await gen::moment;
      loop.stop();
    });
    loop.run_gen(f);
  }

  // Python: gen_test.GenEngineTest.test_multi_yieldpoint_delayed
  TEST_CASE("GenEngine: a list of tasks whose callbacks come at different times") {
    EngineLoop loop;
    std::vector<std::string> responses;
    const auto f = gen::engine([&]() -> Future<void> {
      responses = co_await gen::multi(list(gen::Task<std::string>(delay_callback, 3, "v1"),
                                           gen::Task<std::string>(delay_callback, 1, "v2")));
      loop.stop();
    });
    loop.run_gen(f);
    CHECK(responses == std::vector<std::string>{"v1", "v2"});
  }

  // Python: gen_test.GenEngineTest.test_multi_yieldpoint_dict_delayed
  TEST_CASE("GenEngine: a map of tasks whose callbacks come at different times") {
    EngineLoop loop;
    std::map<std::string, std::string> responses;
    const auto f = gen::engine([&]() -> Future<void> {
      std::map<std::string, Future<std::string>> tasks;
      tasks.emplace("foo", gen::Task<std::string>(delay_callback, 3, "v1"));
      tasks.emplace("bar", gen::Task<std::string>(delay_callback, 1, "v2"));
      responses = co_await gen::multi(std::move(tasks));
      loop.stop();
    });
    loop.run_gen(f);
    CHECK(responses == std::map<std::string, std::string>{{"foo", "v1"}, {"bar", "v2"}});
  }

  // Python: gen_test.GenEngineTest.test_multi_future_delayed
  TEST_CASE("GenEngine: multi_future of tasks whose callbacks come at different times") {
    EngineLoop loop;
    std::vector<std::string> responses;
    const auto f = gen::engine([&]() -> Future<void> {
      responses = co_await gen::multi_future(list(gen::Task<std::string>(delay_callback, 3, "v1"),
                                                  gen::Task<std::string>(delay_callback, 1, "v2")));
      loop.stop();
    });
    loop.run_gen(f);
    CHECK(responses == std::vector<std::string>{"v1", "v2"});
  }

  // Python: gen_test.GenEngineTest.test_multi_future_dict_delayed
  TEST_CASE("GenEngine: multi_future of a map whose callbacks come at different times") {
    EngineLoop loop;
    std::map<std::string, std::string> responses;
    const auto f = gen::engine([&]() -> Future<void> {
      std::map<std::string, Future<std::string>> tasks;
      tasks.emplace("foo", gen::Task<std::string>(delay_callback, 3, "v1"));
      tasks.emplace("bar", gen::Task<std::string>(delay_callback, 1, "v2"));
      responses = co_await gen::multi_future(std::move(tasks));
      loop.stop();
    });
    loop.run_gen(f);
    CHECK(responses == std::map<std::string, std::string>{{"foo", "v1"}, {"bar", "v2"}});
  }

  // No test asserts a time: that two thousand need hardly more iterations than one takes its place.
  // Python: gen_test.GenEngineTest.test_multi_performance
  TEST_CASE("GenEngine: a list of two thousand tasks is done within a few iterations") {
    test::Loop loop;
    int iterations = 0;
    std::function<void()> count = [&] {
      ++iterations;
      loop.add_callback(std::ref(count));
    };
    loop.run([&]() -> Future<void> {
      loop.add_callback(std::ref(count));
      std::vector<Future<void>> tasks;
      for (int i = 0; i < 2000; ++i) tasks.push_back(gen::Task(add_callback));
      co_await tasks;
      CHECK(iterations <= 3);
    });
  }

  // Python: gen_test.GenEngineTest.test_multi_empty
  TEST_CASE("GenEngine: an empty list or map gives what it is") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto x = co_await std::vector<Future<int>>();
      static_assert(std::is_same_v<decltype(x), const std::vector<int>>);
      CHECK(x.empty());
      const auto y = co_await std::map<std::string, Future<int>>();
      static_assert(std::is_same_v<decltype(y), const std::map<std::string, int>>);
      CHECK(y.empty());
    });
  }

  // Python: gen_test.GenEngineTest.test_future
  TEST_CASE("GenEngine: a Future") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const int result = co_await async_future(1);
      CHECK(result == 1);
    });
  }

  // Python: gen_test.GenEngineTest.test_multi_future
  TEST_CASE("GenEngine: a list of Futures") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto results = co_await list(async_future(1), async_future(2));
      CHECK(results == std::vector<int>{1, 2});
    });
  }

  // Python: gen_test.GenEngineTest.test_multi_future_duplicate
  TEST_CASE("GenEngine: a list in which a Future stands twice") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto f = async_future(2);
      const auto results = co_await list(async_future(1), f, async_future(3), f);
      CHECK(results == std::vector<int>{1, 2, 3, 2});
    });
  }

  // Python: gen_test.GenEngineTest.test_multi_dict_future
  TEST_CASE("GenEngine: a map of Futures") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      std::map<std::string, Future<int>> futures;
      futures.emplace("foo", async_future(1));
      futures.emplace("bar", async_future(2));
      const auto results = co_await std::move(futures);
      CHECK(results == std::map<std::string, int>{{"foo", 1}, {"bar", 2}});
    });
  }

  // Python: gen_test.GenEngineTest.test_multi_exceptions
  TEST_CASE("GenEngine: multi throws the first error in order and logs the others") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      {
        const test::ExpectLog expected(log::app_log, "Multiple exceptions in yield list");
        const auto what = co_await error_of(gen::multi(list(
            async_exception(runtime_error("error 1")), async_exception(runtime_error("error 2")))));
        CHECK(what == "error 1");
      }
      // With only one exception, no error is logged.
      const auto one = co_await error_of(
          gen::multi(list(async_exception(runtime_error("error 1")), async_future(2))));
      CHECK(one == "error 1");
      // Exception logging may be explicitly quieted.
      const auto quieted =
          co_await error_of(gen::multi(list(async_exception(runtime_error("error 1")),
                                            async_exception(runtime_error("error 2"))),
                                       gen::quiet<std::runtime_error>));
      CHECK(quieted == "error 1");
    });
  }

  // Python: gen_test.GenEngineTest.test_multi_future_exceptions
  TEST_CASE("GenEngine: a list throws the first error in order and logs the others") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      {
        const test::ExpectLog expected(log::app_log, "Multiple exceptions in yield list");
        std::string what;
        try {
          co_await list(async_exception(runtime_error("error 1")),
                        async_exception(runtime_error("error 2")));
        } catch (const std::runtime_error& e) {
          what = e.what();
        }
        CHECK(what == "error 1");
      }
      // With only one exception, no error is logged.
      bool thrown = false;
      try {
        co_await list(async_exception(runtime_error("error 1")), async_future(2));
      } catch (const std::runtime_error&) {
        thrown = true;
      }
      CHECK(thrown);
      // Exception logging may be explicitly quieted.
      const auto quieted =
          co_await error_of(gen::multi_future(list(async_exception(runtime_error("error 1")),
                                                   async_exception(runtime_error("error 2"))),
                                              gen::quiet<std::runtime_error>));
      CHECK(quieted == "error 1");
    });
  }

  // Python: gen_test.GenEngineTest.test_raise_after_stop
  TEST_CASE("GenEngine: an exception behind stop is not lost") {
    EngineLoop loop;
    const auto f = gen::engine([&]() -> Future<void> {
      loop.stop();
      divide_by_zero();
      co_return;
    });
    CHECK_THROWS_AS(loop.run_gen(f), ZeroDivisionError);
  }

  // Python: gen_test.GenEngineTest.test_sync_raise_return
  TEST_CASE("GenEngine: co_return without a value, before a wait") {
    EngineLoop loop;
    const auto f = gen::engine([&]() -> Future<void> {
      loop.stop_with(42);
      co_return;
    });
    CHECK(loop.run_gen(f) == 42);
  }

  // Python: gen_test.GenEngineTest.test_async_raise_return
  TEST_CASE("GenEngine: co_return without a value, after a wait") {
    EngineLoop loop;
    const auto f = gen::engine([&]() -> Future<void> {
      co_await gen::Task(add_callback);
      loop.stop_with(42);
      co_return;
    });
    CHECK(loop.run_gen(f) == 42);
  }

  // Python: gen_test.GenEngineTest.test_task_refcounting
  TEST_CASE("GenEngine: a task and its arguments are released when it is done") {
    EngineLoop loop;
    std::weak_ptr<int> arg_ref;
    std::weak_ptr<int> task_ref;
    const auto f = gen::engine([&]() -> Future<void> {
      auto arg = std::make_shared<int>(1);
      arg_ref = arg;
      // What the task's Future holds goes with it.
      const auto give = [](std::shared_ptr<int> value,
                           std::function<void(std::shared_ptr<int>)> callback) {
        IOLoop::current().add_callback(std::move(callback), std::move(value));
      };
      {
        const auto task = gen::Task<std::shared_ptr<int>>(give, std::move(arg));
        task_ref = co_await task;
        CHECK_FALSE(task_ref.expired());
      }
      CHECK(task_ref.expired());
      loop.stop();
    });
    loop.run_gen(f);
    CHECK(arg_ref.expired());
    CHECK(task_ref.expired());
  }

  // ---- engine ---------------------------------------------------------------------------------

  TEST_CASE("gen.engine: begins when it is called, on the caller's stack, and returns nothing") {
    test::Loop loop;
    std::string order;
    const Future<void> gate;
    const auto f = gen::engine([&](std::string name) -> Future<void> {
      order += name;
      co_await gate;
      order += name + "!";
    });
    static_assert(std::is_void_v<decltype(f("a"))>);
    f("a");
    f("b");  // while the first goes on
    order += "c";
    gate.set_result();
    CHECK(order == "abc");
    loop.iterate();
    CHECK(order == "abca!b!");
  }

  TEST_CASE("gen.engine: fits an interface that wants a plain callback") {
    test::Loop loop;
    std::string got;
    const std::function<void(int)> callback = gen::engine([&](int n) -> Future<void> {
      co_await gen::moment;
      got += std::to_string(n);
    });
    callback(1);
    loop.call_later(0, callback, 2);
    loop.add_future(make_ready_future(3), [&](const Future<int>& f) { callback(f.result()); });
    loop.run_until([&] { return got.size() == 3; });
    CHECK(got.find('1') != got.npos);
    CHECK(got.find('2') != got.npos);
    CHECK(got.find('3') != got.npos);
  }

  TEST_CASE("gen.engine: the coroutine's error is logged as a callback's is, outside a loop too") {
    test::Loop loop;
    const auto at_once = gen::engine([]() -> Future<void> {
      throw CustomError("at once");
      co_return;
    });
    const auto later = gen::engine([]() -> Future<void> {
      co_await gen::moment;
      throw CustomError("later");
    });
    const auto no_coroutine =
        gen::engine([]() -> Future<void> { throw CustomError("no coroutine"); });
    {
      const test::ExpectLog expected(log::app_log,
                                     "Exception in callback: test::CustomError: at once");
      at_once();
      CHECK(expected.count() == 1);
      loop.add_callback(at_once);
      loop.iterate(2);
      CHECK(expected.count() == 2);
    }
    {
      const test::ExpectLog expected(log::app_log,
                                     "Exception in callback: test::CustomError: later");
      later();
      CHECK(expected.count() == 0);
      loop.iterate(3);
      CHECK(expected.count() == 1);
    }
    {
      const test::ExpectLog expected(log::app_log,
                                     "Exception in callback: test::CustomError: no coroutine");
      no_coroutine();
      CHECK(expected.count() == 1);
    }
  }

  TEST_CASE("gen.engine: the loop's exception handler sees the error in place of the log") {
    test::Loop loop;
    int seen = 0;
    loop.set_exception_handler([&](const std::exception_ptr& error) {
      CHECK_THROWS_AS(std::rethrow_exception(error), CustomError);
      ++seen;
    });
    const auto f = gen::engine([]() -> Future<void> {
      co_await gen::moment;
      throw CustomError("later");
    });
    f();
    loop.iterate(3);
    CHECK(seen == 1);
  }

  TEST_CASE("gen.engine: a coroutine that ends by being cancelled logs nothing") {
    test::Loop loop;
    const Future<void> gate;
    bool ended = false;
    const auto f = gen::engine([&]() -> Future<void> {
      try {
        co_await gate;
      } catch (const CancelledError&) {
        ended = true;
        throw;
      }
    });
    f();
    gate.cancel();
    loop.iterate(2);
    CHECK(ended);
  }

  TEST_CASE("gen.engine: the coroutine's result is not used") {
    test::Loop loop;
    auto token = std::make_shared<int>(42);
    const std::weak_ptr<int> watch = token;
    const auto f =
        gen::engine([](std::shared_ptr<int> value, bool wait) -> Future<std::shared_ptr<int>> {
          if (wait) co_await gen::moment;
          co_return value;
        });
    static_assert(std::is_void_v<decltype(f(token, true))>);
    f(token, false);
    f(std::move(token), true);
    CHECK_FALSE(watch.expired());
    loop.iterate(2);
    CHECK(watch.expired());
  }

  TEST_CASE("gen.engine: keeps the callable and the arguments until the coroutine ends") {
    test::Loop loop;
    std::string order;
    std::string seen;
    const Future<void> gate;
    {
      auto f = gen::engine([&, captured = std::make_shared<std::string>("captured")](
                               const std::string& argument, const Note& note) -> Future<void> {
        static_cast<void>(note);
        co_await gate;
        seen = *captured + " " + argument;
        order += "e";
      });
      std::string argument = "argument, which is long enough to lie on the heap";
      f(argument, Note(order, 'n'));
      argument = "changed";
    }
    CHECK(order.empty());
    gate.set_result();
    loop.iterate();
    CHECK(seen == "captured argument, which is long enough to lie on the heap");
    CHECK(order == "en");
  }

  TEST_CASE("gen.engine: when the loop closes, coroutine, callable and arguments go") {
    std::string order;
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    {
      test::Loop loop;
      const auto f = gen::engine([&, token = std::move(token)](const Note&) -> Future<void> {
        const Note local(order, 'l');
        co_await gen::sleep(1h);
      });
      f(Note(order, 'p'));
      loop.iterate();
      CHECK(order.empty());
    }
    CHECK(order == "lp");
    CHECK(watch.expired());
  }

  TEST_CASE("gen.engine: arguments and callable may be move-only, the callable for use by call") {
    test::Loop loop;
    int sum = 0;
    const auto f = gen::engine([&sum](std::unique_ptr<int> value) -> Future<void> {
      co_await gen::moment;
      sum += *value;
    });
    f(std::make_unique<int>(3));
    f(std::make_unique<int>(4));
    loop.iterate(2);
    CHECK(sum == 7);
  }
}
