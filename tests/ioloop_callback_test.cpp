// SPDX-License-Identifier: Apache-2.0
//
// Callbacks, from the loop, other threads and signal handlers.
#include "ioloop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <exception>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::at_end;
using test::CustomError;
using test::send;
using test::SocketPair;
using test::thread_time;

TEST_SUITE("ioloop") {
  // ---- Callbacks ------------------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoop.test_add_callback_wakeup
  TEST_CASE("IOLoop.add_callback: from inside it runs without waiting for a timeout (L1)") {
    test::Loop loop;
    bool called = false;
    bool waited = false;
    loop.add_timeout(IOLoop::Clock::now(), [&] {
      loop.add_callback([&] {
        called = true;
        loop.stop();
      });
    });
    loop.call_later(4s, [&] { waited = true; });
    loop.wait();
    CHECK_FALSE(waited);
    CHECK(called);
  }

  // Python: ioloop_test.TestIOLoop.test_add_callback_wakeup_other_thread
  TEST_CASE("IOLoop.add_callback: from another thread it wakes a loop that sleeps (L1)") {
    test::Loop loop;
    bool waited = false;
    std::thread thread;
    loop.add_callback([&] {
      thread = std::thread([&] {
        // Each time the loop has gone back to sleep, or is about to.
        for (int i = 0; i < 200; ++i) {
          std::promise<void> ran;
          loop.add_callback([&] { ran.set_value(); });
          ran.get_future().wait();
        }
        loop.add_callback([&] { loop.stop(); });
      });
    });
    loop.call_later(4s, [&] { waited = true; });
    loop.wait();
    CHECK_FALSE(waited);
    thread.join();
  }

  // Python: ioloop_test.TestIOLoop.test_add_callback_return_sequence
  TEST_CASE("IOLoop.add_callback: what a callback returns is not run again (L7)") {
    test::Loop loop;
    int calls = 0;
    loop.add_callback([&] {
      ++calls;
      return std::map<int, int>();
    });
    loop.add_callback([&] {
      ++calls;
      return std::vector<Future<void>>();
    });
    loop.add_callback([&] {
      ++calls;
      return make_ready_future();
    });
    loop.add_timeout(50ms, [&] { loop.stop(); });
    const auto used = thread_time();
    loop.wait();
    CHECK(calls == 3);
    CHECK(thread_time() - used < 20ms);  // it did not spin
  }

  // Python: ioloop_test.TestIOLoop.test_add_callback_while_closing
  TEST_CASE("IOLoop.add_callback: while another thread closes the loop it does nothing (L3)") {
    for (int round = 0; round < 20; ++round) {
      IOLoop other(IOLoop::MakeCurrent::never);
      std::promise<void> closing;
      std::thread thread([&] {
        other.add_callback([&] { other.stop(); });
        other.start();
        closing.set_value();
        other.close(true);
      });
      closing.get_future().wait();
      std::atomic<bool> called = false;
      for (int i = 0; i < 1000; ++i) other.add_callback([&] { called = true; });
      thread.join();
      other.add_callback([&] { called = true; });
      CHECK_FALSE(called);
    }
  }

  TEST_CASE("IOLoop.add_callback: one added by a callback runs in the next iteration (L4)") {
    test::Loop loop;
    std::string order;
    loop.add_callback([&] {
      order += "1";
      loop.add_callback([&] {
        order += "4";
        loop.stop();
      });
      order += "2";
    });
    loop.add_callback([&] { order += "3"; });
    loop.wait();
    CHECK(order == "1234");
  }

  TEST_CASE(
      "IOLoop.add_callback: one that adds itself for ever does not keep others waiting (L4)") {
    test::Loop loop;
    SocketPair pair;
    int iterations = 0;
    std::function<void()> again = [&] {
      ++iterations;
      loop.add_callback(std::ref(again));
    };
    bool timeout_ran = false;
    bool other_thread_ran = false;
    bool handler_ran = false;
    const auto stop_when_all = [&] {
      if (timeout_ran && other_thread_ran && handler_ran) loop.stop();
    };
    loop.add_callback(std::ref(again));
    loop.call_later(1ms, [&] {
      timeout_ran = true;
      stop_when_all();
    });
    loop.add_handler(
        pair.client(),
        [&](int fd, int) {
          loop.remove_handler(fd);
          handler_ran = true;
          stop_when_all();
        },
        IOLoop::READ);
    send(pair.server(), "x");
    std::thread thread([&] {
      loop.add_callback([&] {
        other_thread_ran = true;
        stop_when_all();
      });
    });
    loop.wait();
    thread.join();
    CHECK(iterations > 0);
  }

  TEST_CASE("IOLoop.add_callback: between one and the one it adds the system is asked (L4)") {
    test::Loop loop;
    SocketPair pair;
    std::string order;
    loop.add_handler(
        pair.client(),
        [&](int fd, int) {
          loop.remove_handler(fd);
          order += "h";
        },
        IOLoop::READ);
    loop.iterate(2);
    loop.add_callback([&] {
      order += "a";
      send(pair.server(), "x");
      loop.add_callback([&] {
        order += "b";
        loop.add_callback([&] {
          order += "c";
          loop.stop();
        });
      });
    });
    loop.wait();
    CHECK_MESSAGE(order.find('h') < order.find('c'), order);
  }

  // In a chain as long as these the reactor is not asked between any two.
  TEST_CASE("IOLoop.add_callback: in a long chain each is settled before the next (L4)") {
    test::Loop loop;
    int depth = 0;
    int resumed = 0;
    int unsettled = 0;
    const auto wait = [&resumed](Future<void> future) -> Future<void> {
      co_await future;
      ++resumed;
    };
    std::function<void(int)> link = [&](int number) {
      if (++depth > 1 || resumed != number) ++unsettled;
      Future<void> future;
      loop.spawn_callback(wait, future);
      loop.add_callback([&, number, future]() mutable {
        future.set_result();
        if (number == 2000) {
          loop.stop();
        } else {
          loop.add_callback([&, number] { link(number + 1); });
        }
      });
      --depth;
    };
    loop.add_callback([&] { link(0); });
    loop.wait();
    CHECK(unsettled == 0);
    CHECK(resumed == 2001);
  }

  TEST_CASE("IOLoop.stop: in a long chain the callbacks of the iteration run, the next does not") {
    for (const int length : {1, 100, 1000, 1001, 1002, 1003}) {
      CAPTURE(length);
      test::Loop loop;
      std::string order;
      std::function<void(int)> link = [&](int left) {
        if (left > 0) {
          loop.add_callback([&, left] { link(left - 1); });
          return;
        }
        loop.add_callback([&] {
          order += "a";
          loop.add_callback([&] {
            order += "c";
            loop.stop();
          });
          loop.stop();
        });
        loop.add_callback([&] { order += "b"; });
      };
      link(length);
      loop.wait();
      CHECK(order == "ab");
      loop.wait();
      CHECK(order == "abc");
    }
  }

  // Python: ioloop_test.TestIOLoop.test_exception_logging
  TEST_CASE("IOLoop.add_callback: an exception is logged, and the loop goes on (L5)") {
    test::Loop loop;
    bool went_on = false;
    loop.add_callback([] { throw CustomError("escaped"); });
    loop.add_callback([] { throw 5; });
    loop.add_callback([&] {
      went_on = true;
      loop.stop();
    });
    const test::ExpectLog with_identity(log::app_log,
                                        "Exception in callback: test::CustomError: escaped");
    const test::ExpectLog without(log::app_log, "Exception in callback: int");
    loop.wait();
    CHECK(went_on);
    CHECK(with_identity.count() == 1);
    CHECK(without.count() == 1);
  }

  TEST_CASE("IOLoop: exceptions of timeouts, handlers and signal callbacks are logged too (L5)") {
    test::Loop loop;
    SocketPair pair;
    loop.call_later(0, [] { throw CustomError("from a timeout"); });
    loop.add_callback_from_signal([](void*) { throw CustomError("from a signal"); });
    loop.add_handler(
        pair.client(),
        [&](int fd, int) {
          loop.remove_handler(fd);
          throw CustomError("from a handler");
        },
        IOLoop::READ);
    send(pair.server(), "x");
    const test::ExpectLog timeout(log::app_log, "CustomError: from a timeout");
    const test::ExpectLog signal(log::app_log, "CustomError: from a signal");
    const test::ExpectLog handler(log::app_log, "CustomError: from a handler");
    loop.run_until(
        [&] { return timeout.count() > 0 && signal.count() > 0 && handler.count() > 0; });
    CHECK(timeout.count() == 1);
    CHECK(signal.count() == 1);
    CHECK(handler.count() == 1);
  }

  // Python: ioloop_test.TestIOLoop.test_exception_logging_future
  TEST_CASE("IOLoop.add_callback: a callback's Future that has failed is logged (L6)") {
    test::Loop loop;
    loop.add_callback([&]() -> Future<void> {
      loop.add_callback([&] { loop.stop(); });
      const int nothing = 0;
      if (nothing == 0) throw CustomError("before it waits");
      co_return;
    });
    const test::ExpectLog expected(log::app_log, "Exception in callback");
    loop.wait();
    CHECK(expected.count() == 1);
  }

  // Python: ioloop_test.TestIOLoop.test_exception_logging_native_coro
  TEST_CASE("IOLoop.add_callback: a callback's coroutine that fails later is logged (L6)") {
    test::Loop loop;
    loop.add_callback([&]() -> Future<void> {
      co_await gen::moment;
      loop.add_callback([&] { loop.add_callback([&] { loop.stop(); }); });
      throw CustomError("after it waited");
    });
    const test::ExpectLog expected(log::app_log, "Exception in callback");
    loop.wait();
    CHECK(expected.count() == 1);
  }

  // Python: ioloop_test.TestIOLoop.test_spawn_callback
  TEST_CASE("IOLoop.spawn_callback: an exception is logged, as with add_callback") {
    test::Loop loop;
    {
      loop.add_callback([] { throw CustomError("added"); });
      loop.add_callback([&] { loop.stop(); });
      const test::ExpectLog expected(log::app_log, "Exception in callback");
      loop.wait();
    }
    {
      loop.spawn_callback([] { throw CustomError("spawned"); });
      loop.add_callback([&] { loop.stop(); });
      const test::ExpectLog expected(log::app_log, "Exception in callback");
      loop.wait();
    }
  }

  // Python: ioloop_test.TestIOLoop.test_handle_callback_exception
  TEST_CASE("IOLoop.set_exception_handler: sees what escapes, in place of the log (L5)") {
    test::Loop loop;
    std::vector<std::string> seen;
    loop.set_exception_handler([&](const std::exception_ptr& error) {
      seen.push_back(log::describe(error));
      if (seen.size() == 4) loop.stop();
    });
    loop.add_callback([] { throw std::range_error("a callback"); });
    loop.call_later(0, [] { throw std::range_error("a timeout"); });
    loop.add_callback([]() -> Future<void> {
      co_await gen::moment;
      throw std::range_error("a coroutine");
    });
    make_ready_future(1).add_done_callback([] { throw std::range_error("a done-callback"); });
    loop.wait();
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector<std::string>{
                      "std::range_error: a callback", "std::range_error: a coroutine",
                      "std::range_error: a done-callback", "std::range_error: a timeout"});

    loop.set_exception_handler([](const std::exception_ptr&) { throw CustomError("in turn"); });
    {
      const test::ExpectLog handler(log::app_log, "CustomError: in turn");
      const test::ExpectLog original(log::app_log,
                                     "Exception in callback: std::range_error: lost?");
      loop.add_callback([] { throw std::range_error("lost?"); });
      loop.iterate(2);
    }
    loop.set_exception_handler({});
    const test::ExpectLog expected(log::app_log, "Exception in callback");
    loop.add_callback([] { throw std::range_error("logged again"); });
    loop.iterate(2);
    CHECK(expected.count() == 1);
  }

  TEST_CASE("IOLoop.add_callback: arguments are stored, callables may be move-only") {
    test::Loop loop;
    std::string seen;
    {
      std::string text = "text";
      loop.add_callback([&](const std::string& a, int b) { seen = a + std::to_string(b); }, text,
                        7);
      text = "changed";
    }
    struct Object {
      std::string* out;
      void append(const std::string& what) { *out += what; }
    } object{&seen};
    loop.add_callback(&Object::append, &object, std::string("!"));
    loop.add_callback(
        [&, pointer = std::make_unique<int>(3)] { seen += std::to_string(*pointer); });
    loop.add_callback([&](const std::unique_ptr<int>& p) { seen += std::to_string(*p); },
                      std::make_unique<int>(4));
    loop.iterate();
    CHECK(seen == "text7!34");
  }

  TEST_CASE("IOLoop.add_callback: a callback is destroyed right after it ran (L31)") {
    test::Loop loop;
    std::string order;
    loop.add_callback([&, end = at_end([&] { order += "b"; })] { order += "a"; });
    loop.add_callback([&] { order += "c"; });
    loop.call_later(0, [&, end = at_end([&] { order += "e"; })] { order += "d"; });
    loop.iterate(3);
    CHECK(order == "abcde");
  }

  TEST_CASE("IOLoop.add_callback: a callback is destroyed while the loop is idle (L31)") {
    test::Loop loop;
    const Future<int> future;
    future.add_done_callback([end = at_end([&] { loop.stop(); })] {});
    loop.add_callback([] {});
    loop.add_callback([=] { future.set_result(1); });
    loop.wait();  // ends only if the done-callback is destroyed
    loop.add_callback([end = at_end([&] { loop.stop(); })] {});
    loop.wait();
    loop.call_later(1ms, [end = at_end([&] { loop.stop(); })] {});
    loop.wait();
  }

  TEST_CASE("IOLoop.add_callback: eight threads' callbacks all arrive, each thread's in order") {
    constexpr int thread_count = 8;
#ifdef __OPTIMIZE__
    constexpr int each = test::sanitized ? 20000 : 1250000;
#else
    constexpr int each = test::sanitized ? 5000 : 50000;
#endif
    constexpr int ahead = 10000;  // as many of a thread's wait at most: memory is not the subject
    test::Loop loop;
    struct Sender {
      std::atomic<int> arrived{0};
      bool in_order = true;
      std::thread thread;
    };
    std::vector<Sender> senders(thread_count);
    int ended = 0;
    for (Sender& sender : senders) {
      sender.thread = std::thread([&] {
        for (int i = 0; i < each; ++i) {
          while (i - sender.arrived.load(std::memory_order_relaxed) > ahead) {
            std::this_thread::yield();
          }
          loop.add_callback([&, i] {
            const int arrived = sender.arrived.load(std::memory_order_relaxed);
            sender.in_order = sender.in_order && arrived == i;
            sender.arrived.store(arrived + 1, std::memory_order_relaxed);
            if (arrived + 1 == each && ++ended == thread_count) loop.stop();
          });
        }
      });
    }
    loop.start();  // ten million take longer than wait() has patience
    for (Sender& sender : senders) {
      sender.thread.join();
      CHECK(sender.arrived == each);
      CHECK(sender.in_order);
    }
  }

  TEST_CASE("IOLoop.add_callback: one thread's keep their order in and outside the loop") {
    test::Loop loop;
    std::string order;
    const auto add = [&](char c) { loop.add_callback([&order, c] { order += c; }); };
    add('a');
    loop.add_callback([&] {
      add('c');
      add('d');
      loop.stop();
    });
    add('b');
    loop.start();
    CHECK(order == "ab");
    add('e');
    loop.iterate(3);
    CHECK(order == "abcde");
  }

  TEST_CASE(
      "IOLoop.add_callback: one thread's keep their order though the loop stops at once twice") {
    test::Loop loop;
    SocketPair pair;
    std::string order;
    const auto add = [&](char c) { loop.add_callback([&order, c] { order += c; }); };
    // Both are due when the loop first looks, so that the first stops it before the second runs.
    send(pair.server(), "x");
    loop.add_handler(
        pair.client(),
        [&](int fd, int) {
          loop.remove_handler(fd);
          add('a');
          loop.stop();
        },
        IOLoop::READ);
    loop.call_later(0, [&] {
      add(order.empty() ? 'c' : '?');
      loop.stop();
    });
    loop.start();
    add('b');
    loop.start();
    add('d');
    loop.iterate(3);
    CHECK_MESSAGE((order == "abcd" || order == "cbad"), order);  // whichever the system tells first
  }

  TEST_CASE("IOLoop.add_callback: a coroutine may be added with its arguments") {
    test::Loop loop;
    std::string seen;
    const auto f = [&](std::string text) -> Future<void> {
      co_await gen::moment;
      seen = text;
      loop.stop();
    };
    loop.add_callback(f, "argument");
    loop.wait();
    CHECK(seen == "argument");
  }

  // ---- add_callback_from_signal ---------------------------------------------------------------

  // Python: ioloop_test.TestIOLoop.test_add_callback_from_signal
  TEST_CASE("IOLoop.add_callback_from_signal: runs, on the loop") {
    test::Loop loop;
    CHECK(loop.add_callback_from_signal(
        [](void* argument) { static_cast<IOLoop*>(argument)->stop(); }, &loop));
    loop.wait();
  }

  // Python: ioloop_test.TestIOLoop.test_add_callback_from_signal_other_thread
  TEST_CASE("IOLoop.add_callback_from_signal: from a thread that does not run the loop") {
    IOLoop other(IOLoop::MakeCurrent::never);
    std::thread thread([&] { other.start(); });
    CHECK(other.add_callback_from_signal(
        [](void* argument) { static_cast<IOLoop*>(argument)->stop(); }, &other));
    thread.join();
    other.close();
  }

  TEST_CASE("IOLoop.add_callback_from_signal: from a real signal handler (L30)") {
    static IOLoop* target;
    static std::thread::id ran_on;
    static int wanted;
    static std::vector<int>* seen;
    test::Loop loop;
    std::vector<int> numbers;
    target = &loop;
    seen = &numbers;
    wanted = 100;
    const auto previous = std::signal(SIGUSR1, [](int) {
      static int number = 0;
      target->add_callback_from_signal(
          [](void* argument) {
            ran_on = std::this_thread::get_id();
            seen->push_back(static_cast<int>(reinterpret_cast<std::intptr_t>(argument)));
            if (static_cast<int>(seen->size()) == wanted) target->stop();
          },
          reinterpret_cast<void*>(static_cast<std::intptr_t>(number++)));
    });
    // The signals hit a loop that sleeps, one that runs, and one that allocates.
    std::thread thread([main = ::pthread_self()] {
      for (int i = 0; i < 50; ++i) {
        ::pthread_kill(main, SIGUSR1);
        std::this_thread::yield();
      }
    });
    bool raised = false;
    std::function<void()> busy = [&] {
      const std::vector<std::string> memory(100, std::string(100, 'x'));
      loop.add_callback(std::ref(busy));
      if (!std::exchange(raised, true)) {
        // Blocked signals melt into one, so what is not delivered by the thread is raised here.
        loop.call_later(1ms, [&] {
          for (std::size_t i = 0; i < 100; ++i) {
            if (numbers.size() + i < 100) ::raise(SIGUSR1);
          }
        });
      }
    };
    loop.call_later(1ms, std::ref(busy));
    std::function<void()> top_up = [&] {
      ::raise(SIGUSR1);
      loop.call_later(1ms, std::ref(top_up));
    };
    loop.call_later(5ms, std::ref(top_up));
    loop.wait();
    thread.join();
    std::signal(SIGUSR1, previous);
    CHECK(numbers.size() >= 100);
    CHECK(std::is_sorted(numbers.begin(), numbers.end()));
    CHECK(std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end());
    CHECK(ran_on == std::this_thread::get_id());
  }

  TEST_CASE("IOLoop.add_callback_from_signal: says so when 256 wait, and takes more afterwards") {
    test::Loop loop;
    int count = 0;
    const auto add = [&] {
      return loop.add_callback_from_signal([](void* argument) { ++*static_cast<int*>(argument); },
                                           &count);
    };
    for (int round = 0; round < 3; ++round) {
      count = 0;
      for (int i = 0; i < 256; ++i) CHECK(add());
      CHECK_FALSE(add());
      CHECK_FALSE(add());
      loop.iterate(3);
      CHECK(count == 256);
    }
  }

  TEST_CASE("IOLoop.add_callback_from_signal: four threads' callbacks all arrive, or are refused") {
    test::Loop loop;
    std::atomic<int> accepted = 0;
    std::atomic<int> finished = 0;
    int ran = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 2000; ++i) {
          if (loop.add_callback_from_signal([](void* argument) { ++*static_cast<int*>(argument); },
                                            &ran)) {
            ++accepted;
          }
        }
        ++finished;
      });
    }
    std::function<void()> check = [&] {
      if (finished == 4 && ran == accepted) return loop.stop();
      loop.add_callback(std::ref(check));
    };
    loop.add_callback(std::ref(check));
    loop.wait();
    for (auto& thread : threads) thread.join();
    CHECK(ran == accepted);
    CHECK(ran >= 256);
  }
}
