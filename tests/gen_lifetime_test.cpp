// SPDX-License-Identifier: Apache-2.0
//
// What becomes of coroutines that are suspended when their loop is closed.
#include "gen_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::async_future;
using test::CustomError;
using test::list;
using test::Note;

TEST_SUITE("gen") {
  // ---- Teardown -------------------------------------------------------------------------------
  // A loop that is closed destroys what is suspended in it, at whatever point that is.

  template <class F>
  std::string destroyed_by_close(F f) {
    std::string order;
    bool went_on = false;
    {
      test::Loop loop;
      const auto coroutine = [&](Note parameter) -> Future<void> {
        const Note local(order, 'l');
        static_cast<void>(parameter);
        co_await f(order);
        went_on = true;
      };
      const Future<void> future = coroutine(Note(order, 'p'));
      const Future<void> watched = future;
      bool called = false;
      watched.add_done_callback([&] { called = true; });
      loop.iterate(2);
      CHECK_FALSE(future.done());
      CHECK(order.empty());
      loop.close();
      CHECK(future.cancelled());
      CHECK_FALSE(called);
    }
    CHECK_FALSE(went_on);
    return order;
  }

  TEST_CASE("IOLoop.close: destroys a coroutine suspended in a sleep (G14)") {
    CHECK(destroyed_by_close([](std::string&) { return gen::sleep(1h); }) == "lp");
  }

  TEST_CASE("IOLoop.close: destroys a coroutine suspended at a Future (G14)") {
    CHECK(destroyed_by_close([](std::string&) { return Future<int>(); }) == "lp");
    const Future<int> kept;
    CHECK(destroyed_by_close([&](std::string&) { return kept; }) == "lp");
    CHECK_FALSE(kept.done());
    kept.set_result(1);
    CHECK(kept.result() == 1);
  }

  TEST_CASE("IOLoop.close: destroys a coroutine suspended at a list, tuple or map (G14)") {
    CHECK(destroyed_by_close([](std::string&) {
            return gen::multi(list(gen::sleep(1h), Future<void>()));
          }) == "lp");
    const Future<int> kept;
    CHECK(destroyed_by_close([&](std::string&) {
            return gen::multi(kept, gen::sleep(1h), make_ready_future(1));
          }) == "lp");
    CHECK(destroyed_by_close([&](std::string&) {
            std::map<int, Future<int>> children;
            children.emplace(1, kept);
            children.emplace(2, Future<int>());
            return gen::multi(std::move(children));
          }) == "lp");
    CHECK_FALSE(kept.done());
  }

  TEST_CASE("IOLoop.close: destroys a coroutine suspended in with_timeout (G14)") {
    CHECK(destroyed_by_close([](std::string&) { return gen::with_timeout(1h, Future<int>()); }) ==
          "lp");
    CHECK(destroyed_by_close([](std::string&) { return gen::with_timeout(1h, gen::sleep(1h)); }) ==
          "lp");
    const Future<int> kept;
    CHECK(destroyed_by_close([&](std::string&) { return gen::with_timeout(1h, kept); }) == "lp");
    CHECK_FALSE(kept.done());
  }

  TEST_CASE("IOLoop.close: destroys a coroutine suspended at a moment (G14)") {
    std::string order;
    {
      test::Loop loop;
      const auto f = [&]() -> Future<void> {
        const Note local(order, 'l');
        for (;;) co_await gen::moment;
      };
      const Future<void> future = f();
      loop.iterate(3);
      loop.close();
      CHECK(future.cancelled());
    }
    CHECK(order == "l");
  }

  TEST_CASE("IOLoop.close: destroys the called before their callers (G14)") {
    const auto inner = [](std::string& order, const Note&,
                          const std::string& callers) -> Future<void> {
      struct Uses {
        std::string* out;
        const std::string* text;
        Uses(std::string& o, const std::string& t) : out(&o), text(&t) {}
        Uses(const Uses&) = delete;
        Uses& operator=(const Uses&) = delete;
        ~Uses() { *out += *text; }
      } const uses(order, callers);
      const Note local(order, 'i');
      co_await gen::sleep(1h);
    };
    CHECK(destroyed_by_close([&](std::string& order) {
            const auto middle = [&inner](std::string& out) -> Future<void> {
              const std::string text = "a text in the caller's frame, ";
              const Note local(out, 'm');
              co_await inner(out, local, text);
            };
            return middle(order);
          }) == "ia text in the caller's frame, mlp");
  }

  TEST_CASE("IOLoop.close: the order of calls counts, whoever suspended or resumed last (G14)") {
    std::string order;
    {
      test::Loop loop;
      const auto child = [&](char name, int moments) -> Future<void> {
        const Note local(order, name);
        for (int i = 0; i < moments; ++i) co_await gen::moment;
        co_await Future<void>();
      };
      const auto parent = [&]() -> Future<void> {
        const Note local(order, 'p');
        co_await gen::moment;
        const Future<void> a = child('1', 3);
        const Future<void> b = child('2', 0);
        co_await gen::moment;  // suspended again after its children
        co_await gen::multi(a, b);
      };
      parent();
      loop.iterate(2);
      child('3', 0);
      loop.iterate(4);
    }
    CHECK(order == "321p");
  }

  TEST_CASE(
      "IOLoop.close: the order of calls counts also for a loop that changed its thread (G14)") {
    std::string order;
    IOLoop::clear_current();
    auto loop = std::make_unique<IOLoop>();
    const auto f = [&](char name) -> Future<void> {
      const Note local(order, name);
      co_await Future<void>();
    };
    std::thread warm_up([] {
      for (int i = 0; i < 100; ++i) async_future(1);
      IOLoop::clear_current();
    });
    warm_up.join();
    std::thread first([&] {
      for (int i = 0; i < 100; ++i) make_ready_future(1);
      loop->run_sync([&] {
        f('1');
        f('2');
      });
    });
    first.join();
    std::thread second([&] { loop->run_sync([&] { f('3'); }); });
    second.join();
    loop->run_sync([&] { f('4'); });
    loop.reset();
    CHECK(order == "4321");
  }

  TEST_CASE("IOLoop.close: destroys coroutines whose wait is over, without resuming them (G14)") {
    std::string order;
    const Future<int> done_now;
    {
      test::Loop loop;
      const auto f = [&](char name) -> Future<void> {
        const Note local(order, name);
        co_await done_now;
        order += "resumed";
      };
      f('a');
      f('b');
      done_now.set_result(1);
      loop.close();
    }
    CHECK(order == "ba");
  }

  TEST_CASE("IOLoop.close: destroys what a callback or a timeout started, and its capture (G14)") {
    std::string order;
    {
      test::Loop loop;
      const auto start = [&](char name) {
        return [&order, capture = Note(order, 'c'), name]() -> Future<void> {
          const Note local(order, name);
          co_await gen::sleep(1h);
        };
      };
      loop.add_callback(start('1'));
      loop.call_later(0, start('2'));
      make_ready_future(1).add_done_callback(start('3'));
      loop.add_future(make_ready_future(1), [&, capture = Note(order, 'c')](auto) -> Future<void> {
        const Note local(order, '4');
        co_await gen::sleep(1h);
      });
      loop.iterate(5);
      CHECK(order.empty());
    }
    std::sort(order.begin(), order.end());
    CHECK(order == "1234cccc");
  }

  TEST_CASE(
      "IOLoop.close: a destructor that starts a coroutine, completes a Future, adds a callback") {
    std::string order;
    bool called = false;
    {
      test::Loop loop;
      const Future<int> completed;
      const auto waits = [&]() -> Future<void> {
        const Note local(order, 'w');
        co_await completed;
        order += "x";
      };
      class AtEnd {
       public:
        explicit AtEnd(std::function<void()> f) : f_(std::move(f)) {}
        AtEnd(const AtEnd&) = delete;
        AtEnd& operator=(const AtEnd&) = delete;
        ~AtEnd() { f_(); }

       private:
        std::function<void()> f_;
      };
      const auto at_moment = [&]() -> Future<void> {
        const Note local(order, 'm');
        co_await gen::moment;
        order += "resumed";
      };
      const auto in_sleep = [&]() -> Future<void> {
        const Note local(order, 's');
        co_await gen::sleep(0s);
        order += "resumed";
      };
      const auto in_list = [&]() -> Future<void> {
        const Note local(order, 'l');
        co_await list(gen::sleep(0s), at_moment());
        order += "resumed";
      };
      const auto f = [&]() -> Future<void> {
        const AtEnd at_end([&] {
          completed.set_result(1);
          completed.add_done_callback([&] { called = true; });
          loop.add_callback([&] { called = true; });
          loop.call_later(0, [&] { called = true; });
          in_sleep();
          in_list();
          at_moment();
          waits();
        });
        co_await gen::sleep(1h);
      };
      waits();
      f();
      loop.iterate(2);
      CHECK(order.empty());
      loop.close();  // while what the coroutines refer to is there
    }
    CHECK_FALSE(called);
    std::sort(order.begin(), order.end());
    CHECK(order == "lmmswwx");  // only the second waits(), which did not have to wait, went on
  }

  TEST_CASE("IOLoop.close: a coroutine that ends at once while the loop closes") {
    std::string order;
    {
      test::Loop loop;
      class Starts {
       public:
        explicit Starts(std::string& out) : out_(out) {}
        Starts(const Starts&) = delete;
        Starts& operator=(const Starts&) = delete;
        ~Starts() {
          const auto inner = [](std::string& o) -> Future<int> {
            const Note local(o, 'i');
            co_return 5;
          };
          out_ += std::to_string(inner(out_).result());
        }

       private:
        std::string& out_;
      };
      const auto f = [&]() -> Future<void> {
        const Starts starts(order);
        co_await gen::sleep(1h);
      };
      f();
    }
    CHECK(order == "i5");
  }

  TEST_CASE("IOLoop.close: a Future whose coroutine was destroyed is cancelled, and logs nothing") {
    std::optional<test::Loop> loop(std::in_place);
    const auto fails = []() -> Future<int> {
      co_await gen::sleep(1h);
      throw CustomError("never thrown");
    };
    const Future<int> future = fails();
    const Future<std::vector<int>> all = gen::multi(list(fails(), fails()));
    const Future<int> timed = gen::with_timeout(1h, fails());
    const Future<int> target;
    chain_future(future, target);
    loop.reset();
    CHECK(future.cancelled());
    CHECK(all.cancelled());
    CHECK(timed.cancelled());
    CHECK_FALSE(target.done());  // its callback went with the loop
    CHECK_FALSE(future.cancel());
  }

  TEST_CASE("IOLoop.close: a cancelled coroutine that has not heard of it yet") {
    std::string order;
    const auto f = [&]() -> Future<void> {
      const Note local(order, 'l');
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        order += "heard";
      }
    };
    std::optional<test::Loop> loop(std::in_place);
    const Future<void> future = f();
    const Future<std::vector<std::monostate>> none;
    const auto all = gen::multi(f(), f());
    CHECK(future.cancel());
    CHECK(all.cancel());
    loop.reset();
    CHECK(order == "lll");
    CHECK(future.cancelled());
    CHECK(all.cancelled());
  }

  // Coroutines of all of Python's kinds are the same thing here; what asyncio itself logs of a task
  // that is destroyed has no counterpart.
  // Python: gen_test.RunnerGCTest.test_gc_infinite_coro
  // Python: gen_test.RunnerGCTest.test_gc_infinite_async_await
  TEST_CASE(
      "IOLoop.close: destroys a coroutine that goes on for ever, and its Future goes too (G14)") {
    std::vector<std::optional<bool>> result;
    std::weak_ptr<int> wfut;
    {
      test::Loop loop;
      class Finalizer {
       public:
        explicit Finalizer(std::vector<std::optional<bool>>& out) : out_(out) {}
        Finalizer(const Finalizer&) = delete;
        Finalizer& operator=(const Finalizer&) = delete;
        ~Finalizer() { out_.push_back(std::nullopt); }

       private:
        std::vector<std::optional<bool>>& out_;
      };
      const auto infinite_coro = [&]() -> Future<void> {
        const Finalizer finalizer(result);
        for (;;) {
          co_await gen::sleep(1ms);
          result.emplace_back(true);
        }
      };
      loop.run([&]() -> Future<void> {
        const Future<void> fut = infinite_coro();
        auto token = std::make_shared<int>();
        wfut = token;
        // A cycle: the Future holds a callback that holds the Future.
        fut.add_done_callback([fut, token = std::move(token)] {});
        while (result.empty()) co_await gen::sleep(1ms);
      });
      CHECK_FALSE(wfut.expired());
      loop.close();
    }
    CHECK(wfut.expired());
    REQUIRE(result.size() >= 2);
    CHECK_FALSE(result.back().has_value());
  }

  // Python: gen_test.RunnerGCTest.test_gc
  TEST_CASE("coroutine: stays alive while only the Future that it awaits is held (G14)") {
    test::Loop loop;
    Future<int>* weak = nullptr;
    const auto tester = [&]() -> Future<int> {
      Future<int> fut;
      weak = &fut;
      loop.add_callback([&] { weak->set_result(123); });
      co_return co_await fut;
    };
    const int result = loop.run([&] { return gen::with_timeout(5s, tester()); });
    CHECK(result == 123);
  }

  TEST_CASE("coroutine: thousands at a time, ended in any order, leave nothing behind") {
    test::Loop loop;
    int alive = 0;
    class Counted {
     public:
      explicit Counted(int& count) : count_(count) { ++count_; }
      Counted(const Counted&) = delete;
      Counted& operator=(const Counted&) = delete;
      ~Counted() { --count_; }

     private:
      int& count_;
    };
    const auto f = [&](Future<int> gate) -> Future<int> {
      const Counted counted(alive);
      co_return co_await gate;
    };
    std::vector<Future<int>> gates(3000);
    std::vector<Future<int>> results;
    for (const auto& gate : gates) results.push_back(f(gate));
    CHECK(alive == 3000);
    for (std::size_t i = 0; i < 3000; ++i) {
      const std::size_t at = i * 1237 % 3000;
      if (i % 3 == 0) {
        results[at].cancel();
      } else {
        gates[at].set_result(static_cast<int>(at));
      }
    }
    loop.iterate(5);
    CHECK(alive == 0);
    for (std::size_t i = 0; i < 3000; ++i) {
      if (!results[i].cancelled()) CHECK(results[i].result() == static_cast<int>(i));
    }
  }
}
