// SPDX-License-Identifier: Apache-2.0
#include "tornado/ioloop.hpp"

#include "ioloop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/log.hpp"
#include "tornado/submit.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::at_end;
using test::CustomError;
using test::resident_bytes;
using test::SocketPair;

namespace {

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

}  // namespace

TEST_SUITE("ioloop") {
  // ---- Current --------------------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoopCurrent.test_default_current
  TEST_CASE("IOLoop: the first becomes current, a second does not (L14)") {
    IOLoop::clear_current();
    IOLoop loop;
    CHECK(&IOLoop::current() == &loop);
    IOLoop loop2;
    CHECK(&IOLoop::current() == &loop);
    loop2.close();
    CHECK(&IOLoop::current() == &loop);
    CHECK(&IOLoop::instance() == &loop);
  }

  // Python: ioloop_test.TestIOLoopCurrent.test_non_current
  TEST_CASE("IOLoop: one that is not to be current is so only while it runs (L14)") {
    IOLoop::clear_current();
    IOLoop loop(IOLoop::MakeCurrent::never);
    CHECK(IOLoop::current_or_null() == nullptr);
    for (int i = 0; i < 3; ++i) {
      IOLoop* current = nullptr;
      loop.add_callback([&] {
        current = &IOLoop::current();
        loop.stop();
      });
      loop.start();
      CHECK(current == &loop);
      CHECK(IOLoop::current_or_null() == nullptr);
    }
  }

  // Python: ioloop_test.TestIOLoopCurrent.test_force_current
  TEST_CASE("IOLoop: one can be made current, whatever was before (L14)") {
    IOLoop::clear_current();
    IOLoop first;
    {
      IOLoop loop(IOLoop::MakeCurrent::always);
      CHECK(&IOLoop::current() == &loop);
      first.make_current();
      CHECK(&IOLoop::current() == &first);
      loop.make_current();
      CHECK(&IOLoop::current() == &loop);
    }
    CHECK(IOLoop::current_or_null() == nullptr);
  }

  // Python: ioloop_test.TestIOLoopCurrentAsync.test_clear_without_current
  TEST_CASE("IOLoop.clear_current: harmless when there is none (L14)") {
    std::exception_ptr thrown;
    std::thread thread([&] {
      try {
        IOLoop::clear_current();
        IOLoop::clear_current();
      } catch (...) {
        thrown = std::current_exception();
      }
    });
    thread.join();
    CHECK(thrown == nullptr);
  }

  TEST_CASE("IOLoop.clear_current: not inside a running loop") {
    test::Loop loop;
    bool refused = false;
    loop.add_callback([&] {
      try {
        IOLoop::clear_current();
      } catch (const std::logic_error&) {
        refused = true;
      }
      CHECK(&IOLoop::current() == &loop);
      loop.stop();
    });
    loop.wait();
    CHECK(refused);
  }

  TEST_CASE("IOLoop.current: makes a loop for a thread that has none, closed at the thread's end") {
    std::atomic<bool> destroyed = false;
    std::thread thread([&] {
      CHECK(IOLoop::current_or_null() == nullptr);
      IOLoop& loop = IOLoop::current();
      CHECK(&IOLoop::current() == &loop);
      CHECK(IOLoop::current_or_null() == &loop);
      loop.call_later(1h, [end = at_end([&] { destroyed = true; })] {});
      CHECK(loop.run_sync([] { return 1; }) == 1);
      CHECK_FALSE(destroyed);
    });
    thread.join();
    CHECK(destroyed);
  }

  TEST_CASE("IOLoop.current: a loop that current() made is closed by clear_current") {
    std::thread thread([] {
      bool destroyed = false;
      IOLoop::current().call_later(1h, [end = at_end([&] { destroyed = true; })] {});
      IOLoop::clear_current();
      CHECK(destroyed);
      CHECK(IOLoop::current_or_null() == nullptr);
    });
    thread.join();
  }

  TEST_CASE("IOLoop: built on one thread, run on another, and current there (L16)") {
    IOLoop::clear_current();
    IOLoop loop;
    std::thread::id ran_on;
    IOLoop* current = nullptr;
    std::thread thread([&] {
      loop.run_sync([&]() -> Future<void> {
        co_await gen::moment;
        ran_on = std::this_thread::get_id();
        current = &IOLoop::current();
      });
      CHECK(IOLoop::current_or_null() == nullptr);
    });
    const auto thread_id = thread.get_id();
    thread.join();
    CHECK(ran_on == thread_id);
    CHECK(current == &loop);
    CHECK(loop.run_sync([] { return 5; }) == 5);
  }

  TEST_CASE("IOLoop: destroyed on another thread it is current nowhere (L16)") {
    IOLoop::clear_current();
    auto loop = std::make_unique<IOLoop>();
    std::thread thread([&] {
      loop->run_sync([] {});
      loop.reset();
    });
    thread.join();
    CHECK(IOLoop::current_or_null() == nullptr);
    IOLoop next;
    CHECK(&IOLoop::current() == &next);
  }

  // Python: ioloop_test.TestIOLoop.test_init_close_race
  TEST_CASE("IOLoop: made and closed by several threads at a time (L15)") {
    std::atomic<int> made = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 50; ++j) {
          IOLoop loop(IOLoop::MakeCurrent::never);
          loop.add_callback([&] { ++made; });
          loop.run_sync([]() -> Future<void> { co_await gen::moment; });
          loop.close();
        }
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(made == 200);
  }

  TEST_CASE("IOLoop: ten thousand made and destroyed leave nothing behind (L29)") {
    const auto use_one = [] {
      IOLoop loop(IOLoop::MakeCurrent::never);
      loop.call_later(1h, [] {});
      loop.add_handler(
          0, [](int, int) {}, IOLoop::READ);
      loop.run_sync([]() -> Future<void> { co_await gen::moment; });
    };
    SocketPair pair;  // as descriptor 0: a terminal or a file may stand there
    const int standard_input = ::dup(0);
    REQUIRE(::dup2(pair.client(), 0) == 0);
    for (int i = 0; i < 500; ++i) use_one();
    const int descriptors = open_descriptors();
    const long bytes = resident_bytes();
    for (int i = 0; i < (test::sanitized ? 500 : 9500); ++i) use_one();
    CHECK(open_descriptors() == descriptors);
    if (!test::sanitized) CHECK(resident_bytes() < bytes + 1'000'000);
    ::dup2(standard_input, 0);
    ::close(standard_input);
  }

  // ---- start, stop, close ---------------------------------------------------------------------

  TEST_CASE("IOLoop.start: blocks with nothing to do, and can be called again (L17)") {
    IOLoop loop;
    for (int i = 0; i < 2; ++i) {
      std::atomic<bool> stopped = false;
      std::thread thread([&] {
        std::this_thread::sleep_for(20ms);  // long enough to return early, if it did
        stopped = true;
        loop.add_callback([&] { loop.stop(); });
      });
      loop.start();
      CHECK(stopped);
      thread.join();
    }
  }

  TEST_CASE("IOLoop.stop: before start it makes the next start return at once (L18)") {
    test::Loop loop;
    bool called = false;
    loop.add_callback([&] {
      called = true;
      loop.stop();
    });
    loop.stop();
    loop.start();
    CHECK_FALSE(called);
    loop.start();
    CHECK(called);
  }

  TEST_CASE("IOLoop.stop: from another thread through add_callback (L18)") {
    IOLoop loop;
    std::thread thread([&] { loop.add_callback([&] { loop.stop(); }); });
    loop.start();
    thread.join();
  }

  TEST_CASE(
      "IOLoop.stop: the callbacks of its iteration still run, later ones with the next start") {
    test::Loop loop;
    std::string order;
    loop.add_callback([&] {
      order += "a";
      loop.add_callback([&] {
        order += "d";
        loop.stop();
      });
      loop.stop();
      order += "b";
    });
    loop.add_callback([&] { order += "c"; });
    loop.start();
    CHECK(order == "abc");
    loop.start();
    CHECK(order == "abcd");
  }

  // Python: ioloop_test.TestIOLoop.test_reentrant
  TEST_CASE("IOLoop.start: inside the running loop it is an error, not a deadlock") {
    test::Loop loop;
    bool returned_from_start = false;
    bool got_exception = false;
    loop.add_callback([&] {
      try {
        loop.start();
        returned_from_start = true;
      } catch (const std::logic_error&) {
        got_exception = true;
      }
      loop.stop();
    });
    loop.wait();
    CHECK(got_exception);
    CHECK_FALSE(returned_from_start);
  }

  TEST_CASE("IOLoop.start: not inside another loop of the thread") {
    test::Loop loop;
    IOLoop other(IOLoop::MakeCurrent::never);
    std::string what;
    loop.add_callback([&] {
      try {
        other.start();
      } catch (const std::logic_error& e) {
        what = e.what();
      }
      loop.stop();
    });
    loop.wait();
    CHECK(what.find("another loop is running on this thread") != what.npos);
  }

  TEST_CASE("IOLoop.start: not on two threads at once") {
    test::Loop loop;
    std::string what;
    loop.add_callback([&] {
      std::thread thread([&] {
        try {
          loop.start();
        } catch (const std::logic_error& e) {
          what = e.what();
        }
      });
      thread.join();
      loop.stop();
    });
    loop.wait();
    CHECK(what.find("the loop is running already") != what.npos);
  }

  TEST_CASE("IOLoop.close: drops callbacks and timeouts without running them") {
    bool ran = false;
    std::string destroyed;
    test::Loop loop;
    loop.add_callback([&, end = at_end([&] { destroyed += "c"; })] { ran = true; });
    loop.call_later(0, [&, end = at_end([&] { destroyed += "t"; })] { ran = true; });
    const Timeout far = loop.call_later(1h, [&, end = at_end([&] { destroyed += "t"; })] {});
    loop.close();
    CHECK_FALSE(ran);
    std::sort(destroyed.begin(), destroyed.end());
    CHECK(destroyed == "ctt");
    loop.remove_timeout(far);
    loop.close();
    loop.close(true);
  }

  TEST_CASE("IOLoop.close: what is left from inside the loop is dropped too") {
    bool destroyed = false;
    test::Loop loop;
    loop.add_callback([&] {
      loop.add_callback([end = at_end([&] { destroyed = true; })] { FAIL_CHECK("ran"); });
      loop.stop();
    });
    loop.wait();
    CHECK_FALSE(destroyed);
    loop.close();
    CHECK(destroyed);
  }

  TEST_CASE("IOLoop.close: inside a callback it throws, and the loop goes on") {
    test::Loop loop;
    int refused = 0;
    loop.add_callback([&] {
      try {
        loop.close();
      } catch (const std::logic_error&) {
        ++refused;
      }
    });
    loop.call_later(0, [&] {
      try {
        loop.close();
      } catch (const std::logic_error&) {
        ++refused;
      }
      loop.stop();
    });
    loop.wait();
    CHECK(refused == 2);
    CHECK(loop.run([] { return 3; }) == 3);
  }

  TEST_CASE("IOLoop.close: a closed loop refuses work, or ignores it (L2)") {
    test::Loop loop;
    loop.close();
    bool called = false;
    bool destroyed = false;
    loop.add_callback([&, end = at_end([&] { destroyed = true; })] { called = true; });
    CHECK(destroyed);
    loop.spawn_callback([&] { called = true; });
    CHECK_FALSE(loop.add_callback_from_signal([](void*) {}));
    const Timeout timeout = loop.call_later(0, [&] { called = true; });
    loop.remove_timeout(timeout);
    loop.remove_handler(1);
    CHECK_THROWS_AS(loop.start(), std::logic_error);
    CHECK_THROWS_AS(loop.run_sync([&] { called = true; }), std::logic_error);
    CHECK_THROWS_AS(loop.add_handler(
                        1, [](int, int) {}, IOLoop::READ),
                    std::logic_error);
    CHECK_THROWS_AS(loop.submit([&] { called = true; }).get(), std::future_error);
    CHECK_FALSE(called);
  }

  TEST_CASE("IOLoop.close: what a destructor adds meanwhile is dropped") {
    test::Loop loop;
    int destroyed = 0;
    std::function<void(int)> add = [&](int depth) {
      if (depth == 0) return;
      loop.add_callback([&, end = at_end([&, depth] {
                              ++destroyed;
                              add(depth - 1);
                            })] { FAIL_CHECK("ran"); });
    };
    add(3);
    loop.call_later(1h, [end = at_end([&] { loop.call_later(1h, [] {}); })] {});
    loop.close();
    CHECK(destroyed == 3);
  }

  TEST_CASE("IOLoop: destroyed inside one of its callbacks it ends the program, and says so") {
    const test::Child child = test::run_in_child([] {
      auto loop = std::make_unique<IOLoop>();
      loop->add_callback([&] { loop.reset(); });
      loop->start();
    });
    CHECK(child.aborted());
    CHECK_MESSAGE(child.text.find("an IOLoop was destroyed inside one of its own callbacks") !=
                      child.text.npos,
                  child.text);
  }
}
