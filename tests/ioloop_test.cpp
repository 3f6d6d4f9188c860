// SPDX-License-Identifier: Apache-2.0
#include "tornado/ioloop.hpp"

#include "loop_support.hpp"
#include "tornado/asio.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/log.hpp"
#include "tornado/util.hpp"

#include <asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

struct CustomError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// Two connected sockets. Python: `socket.socketpair`.
class SocketPair {
 public:
  SocketPair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds_) == 0); }
  ~SocketPair() {
    close_client();
    close_server();
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;

  int client() const { return fds_[0]; }
  int server() const { return fds_[1]; }
  void close_client() { close(fds_[0]); }
  void close_server() { close(fds_[1]); }

 private:
  static void close(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  int fds_[2] = {-1, -1};
};

void send(int fd, std::string_view text) {
  CHECK(::send(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
}

std::string receive(int fd, std::size_t size = 1024) {
  std::string text(size, '\0');
  const ssize_t got = ::recv(fd, text.data(), text.size(), MSG_DONTWAIT);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

/// What the process has in memory, in bytes.
long resident_bytes() {
  long pages = 0;
  long resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

/// The processor time that this thread has used: what grows while a loop spins, and not while it
/// sleeps, however busy the machine is.
std::chrono::nanoseconds thread_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

/// Calls its function when it, the last of its copies, is destroyed.
std::shared_ptr<void> at_end(std::function<void()> function) {
  return {nullptr, [function = std::move(function)](void*) { function(); }};
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

  TEST_CASE("get_io_context: a handler of the program's own runs in the loop, and may throw (L5)") {
    test::Loop loop;
    IOLoop* current = nullptr;
    bool resumed = false;
    const Future<void> gate;
    const auto f = [&]() -> Future<void> {
      co_await gate;
      resumed = true;
      loop.stop();
    };
    const Future<void> future = f();
    asio::post(get_io_context(loop), [] { throw CustomError("from an Asio handler"); });
    asio::post(get_io_context(loop), [&] {
      current = &IOLoop::current();
      gate.set_result();
      CHECK_FALSE(resumed);
    });
    const test::ExpectLog expected(log::app_log, "CustomError: from an Asio handler");
    loop.wait();
    CHECK(current == &loop);
    CHECK(resumed);
    CHECK(expected.count() == 1);
    loop.close();
    CHECK_THROWS_AS(get_io_context(loop), std::logic_error);
  }

  TEST_CASE("IOLoop.close: a program's own Asio handler whose destructor uses the loop") {
    test::Loop loop;
    bool destroyed = false;
    bool ran = false;
    Future<int> future;
    asio::post(get_io_context(loop), [&, end = at_end([&] {
                                           destroyed = true;
                                           CHECK(&IOLoop::current() == &loop);
                                           loop.add_callback([&] { ran = true; });
                                           loop.call_later(0, [&] { ran = true; });
                                           future.add_done_callback([&] { ran = true; });
                                           static_cast<void>(gen::sleep(0s));
                                           static_cast<void>(gen::multi(gen::moment, gen::moment));
                                           future.set_result(1);
                                         })] { ran = true; });
    loop.close();
    CHECK(destroyed);
    CHECK_FALSE(ran);
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

  // ---- run_sync -------------------------------------------------------------------------------

  TEST_CASE("IOLoop.run_sync: a plain value is returned as it is, which Python refuses (L19)") {
    test::Loop loop;
    CHECK(loop.run_sync([] { return 42; }) == 42);
    loop.run_sync([] {});
    CHECK(*loop.run_sync([] { return std::make_unique<int>(1); }) == 1);
    CHECK(loop.run_sync([value = std::string("moved")]() mutable { return std::move(value); }) ==
          "moved");
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_sync_exception
  TEST_CASE("IOLoop.run_sync: throws what the function throws (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> int { throw CustomError("plain"); }), "plain",
                         CustomError);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> Future<int> { throw CustomError("no coroutine"); }),
                         "no coroutine", CustomError);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> Future<void> {
      const int nothing = 0;
      if (nothing == 0) throw CustomError("before the first suspension");
      co_return;
    }),
                         "before the first suspension", CustomError);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_async_result
  TEST_CASE("IOLoop.run_sync: returns the coroutine's value (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    const int result = loop.run_sync([]() -> Future<int> {
      co_await gen::moment;
      co_return 42;
    });
    CHECK(result == 42);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_async_exception
  TEST_CASE("IOLoop.run_sync: throws what the coroutine throws (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    CHECK_THROWS_WITH_AS(loop.run_sync([]() -> Future<void> {
      co_await gen::moment;
      throw CustomError("after it");
    }),
                         "after it", CustomError);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_current
  TEST_CASE("IOLoop.run_sync: its loop is current meanwhile") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    CHECK(loop.run_sync([] { return &IOLoop::current(); }) == &loop);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_timeout
  TEST_CASE("IOLoop.run_sync: after the timeout it throws, and cancels what it waited for (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    bool cancelled = false;
    const auto f = [&]() -> Future<void> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
        cancelled = true;
        throw;
      }
    };
    CHECK_THROWS_AS(loop.run_sync(f, 10ms), TimeoutError);
    CHECK(cancelled);
    CHECK_THROWS_AS(loop.run_sync([]() -> Future<void> { return Future<void>(); }, 0s),
                    TimeoutError);
  }

  TEST_CASE("IOLoop.run_sync: a coroutine that declines to be cancelled may still answer (L19)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    const auto f = [&]() -> Future<int> {
      try {
        co_await gen::sleep(1h);
      } catch (const CancelledError&) {
      }
      co_await gen::moment;
      co_return 7;
    };
    CHECK(loop.run_sync(f, 1ms) == 7);
  }

  TEST_CASE("IOLoop.run_sync: the timer of one that ended does not disturb the next") {
    test::Loop loop;
    CHECK(loop.run_sync([] { return 1; }, 1ms) == 1);
    CHECK(loop.run_sync([]() -> Future<int> {
      co_await gen::sleep(5ms);
      co_return 2;
    }) == 2);
  }

  // Coroutines of all of Python's kinds are the same thing here: one that awaits another.
  // Python: ioloop_test.TestIOLoopRunSync.test_native_coroutine
  TEST_CASE("IOLoop.run_sync: runs a coroutine that awaits a coroutine") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    bool finished = false;
    const auto f1 = []() -> Future<void> { co_await gen::moment; };
    const auto f2 = [&]() -> Future<void> {
      co_await f1();
      finished = true;
    };
    loop.run_sync(f2);
    CHECK(finished);
  }

  // Python: ioloop_test.TestIOLoopRunSync.test_stop_no_timeout
  TEST_CASE("IOLoop.run_sync: when the loop is stopped before the end, the error says so (L20)") {
    IOLoop loop(IOLoop::MakeCurrent::never);
    const Future<void> gate;
    int ended = 0;
    const auto f = [&]() -> Future<void> {
      co_await gen::sleep(1ms);
      IOLoop::current().stop();
      co_await gate;
      ++ended;
    };
    CHECK_THROWS_WITH_AS(loop.run_sync(f), doctest::Contains("stopped before"), std::logic_error);
    CHECK_THROWS_WITH_AS(loop.run_sync(f, 1h), doctest::Contains("stopped before"),
                         std::logic_error);
    CHECK(ended == 0);
    // What went on since then does not stop the loop for those who run it next.
    CHECK(loop.run_sync([&]() -> Future<int> {
      gate.set_result();
      for (int i = 0; i < 3; ++i) co_await gen::moment;
      co_return ended;
    }) == 2);
  }

  TEST_CASE("IOLoop.run_sync: refused in a running loop, and then nothing of it happens") {
    test::Loop loop;
    bool refused = false;
    bool called = false;
    loop.add_callback([&] {
      try {
        loop.run_sync([&] { called = true; });
      } catch (const std::logic_error&) {
        refused = true;
      }
    });
    loop.iterate(5);
    CHECK(refused);
    CHECK_FALSE(called);
  }

  TEST_CASE(
      "IOLoop.run_sync: a stop that was asked for before is an error, and nothing runs later") {
    test::Loop loop;
    bool called = false;
    loop.stop();
    CHECK_THROWS_WITH_AS(loop.run_sync([&] { called = true; }), doctest::Contains("stopped before"),
                         std::logic_error);
    loop.iterate(5);
    CHECK_FALSE(called);
  }

  TEST_CASE("IOLoop.run_sync: keeps a capturing coroutine lambda alive") {
    test::Loop loop;
    auto token = std::make_shared<int>(8);
    const std::weak_ptr<int> watch = token;
    const int result = loop.run([token = std::move(token)]() -> Future<int> {
      co_await gen::moment;
      co_return *token;
    });
    CHECK(result == 8);
    CHECK(watch.expired());
  }

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
        std::this_thread::sleep_for(10ms);
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
    const test::ExpectLog with_identity(
        log::app_log, "Exception in callback: (anonymous namespace)::CustomError: escaped");
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
    constexpr int each = 5000;
    test::Loop loop;
    std::vector<std::vector<int>> seen(thread_count);
    int total = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < thread_count; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < each; ++i) {
          loop.add_callback([&, t, i] {
            seen[static_cast<std::size_t>(t)].push_back(i);
            if (++total == thread_count * each) loop.stop();
          });
        }
      });
    }
    loop.wait();
    for (auto& thread : threads) thread.join();
    for (const auto& numbers : seen) {
      CHECK(numbers.size() == each);
      CHECK(std::is_sorted(numbers.begin(), numbers.end()));
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
    std::this_thread::sleep_for(1ms);
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

  // ---- add_future, submit ---------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoopFutures.test_add_future_threads
  TEST_CASE("IOLoop.add_future: with a Future that another thread completes") {
    test::Loop loop;
    RemotePromise<void> promise;
    std::optional<Future<void>> future;
    loop.add_future(promise.get_future(), [&](Future<void> f) {
      future = std::move(f);
      loop.stop();
    });
    std::thread thread([&] { promise.set_result(); });
    loop.wait();
    thread.join();
    REQUIRE(future.has_value());
    CHECK(future->done());
    future->result();
  }

  TEST_CASE("IOLoop.add_future: keeps the Future, and the error counts as looked at when it is") {
    test::Loop loop;
    std::string seen;
    {
      const auto f = []() -> Future<int> {
        co_await gen::moment;
        throw CustomError("kept");
      };
      loop.add_future(f(), [&](const Future<int>& future) {
        seen = log::describe(future.exception());
        loop.stop();
      });
    }
    loop.wait();
    CHECK(seen.find("CustomError: kept") != seen.npos);
  }

  TEST_CASE("IOLoop.submit: gives a thread without a loop the result") {
    test::Loop loop;
    std::thread::id called_on;
    std::vector<std::string> seen;
    std::thread thread([&] {
      const int value = loop.submit(
                                [&](int a, int b) {
                                  called_on = std::this_thread::get_id();
                                  return a + b;
                                },
                                40, 2)
                            .get();
      seen.push_back(std::to_string(value));
      seen.push_back(loop.submit(
                             [](std::string text) -> Future<std::string> {
                               co_await gen::moment;
                               co_return text + " from a coroutine";
                             },
                             "text")
                         .get());
      loop.submit([] {}).get();
      loop.submit([]() -> Future<void> { co_await gen::sleep(1ms); }).get();
      seen.push_back(std::to_string(*loop.submit([] { return std::make_unique<int>(9); }).get()));
      try {
        loop.submit([]() -> int { throw CustomError("thrown"); }).get();
      } catch (const CustomError& e) {
        seen.push_back(e.what());
      }
      try {
        loop.submit([]() -> Future<int> {
              co_await gen::moment;
              throw CustomError("thrown by a coroutine");
            })
            .get();
      } catch (const CustomError& e) {
        seen.push_back(e.what());
      }
      loop.add_callback([&] { loop.stop(); });
    });
    loop.wait();
    thread.join();
    CHECK(called_on == std::this_thread::get_id());
    CHECK(seen == std::vector<std::string>{"42", "text from a coroutine", "9", "thrown",
                                           "thrown by a coroutine"});
  }

  TEST_CASE("IOLoop.submit: a capturing coroutine lambda is kept alive") {
    test::Loop loop;
    std::future<int> answer;
    std::thread thread([&] {
      answer = loop.submit([p = std::make_unique<int>(6)]() -> Future<int> {
        co_await gen::sleep(1ms);
        co_return *p;
      });
      answer.wait();
      loop.add_callback([&] { loop.stop(); });
    });
    loop.wait();
    thread.join();
    CHECK(answer.get() == 6);
  }

  TEST_CASE("IOLoop.submit: fails with a broken promise when the loop is closed first") {
    std::optional<test::Loop> loop(std::in_place);
    std::future<int> not_begun;
    std::future<void> begun;
    std::promise<void> running;
    std::thread thread([&] {
      begun = loop->submit([&]() -> Future<void> {
        running.set_value();
        co_await gen::sleep(1h);
      });
      running.get_future().wait();
      loop->add_callback([&] { loop->stop(); });
    });
    loop->wait();
    thread.join();
    not_begun = loop->submit([] { return 1; });
    loop.reset();
    CHECK_THROWS_AS(not_begun.get(), std::future_error);
    CHECK_THROWS_AS(begun.get(), std::future_error);
  }

  TEST_CASE("IOLoop.submit: from eight threads") {
    test::Loop loop;
    std::atomic<int> sum = 0;
    std::atomic<int> finished = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) {
          sum += loop.submit(
                         [](int n) -> Future<int> {
                           co_await gen::moment;
                           co_return n;
                         },
                         i)
                     .get();
        }
        if (++finished == 8) loop.add_callback([&] { loop.stop(); });
      });
    }
    loop.wait();
    for (auto& thread : threads) thread.join();
    CHECK(sum == 8 * 4950);
  }

  // ---- Timeouts -------------------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoop.test_add_timeout_timedelta
  TEST_CASE("IOLoop.add_timeout: a duration counts from now") {
    test::Loop loop;
    const auto before = IOLoop::Clock::now();
    IOLoop::Clock::time_point ran;
    loop.add_timeout(1us, [&] { loop.stop(); });
    loop.wait();
    loop.add_timeout(3ms, [&] {
      ran = IOLoop::Clock::now();
      loop.stop();
    });
    loop.wait();
    CHECK(ran >= before + 3ms);
  }

  // Python: ioloop_test.TestIOLoop.test_timeout_with_arguments
  TEST_CASE("IOLoop: all the timeout methods pass arguments on") {
    test::Loop loop;
    std::vector<int> results;
    const auto append = [&](int value) { results.push_back(value); };
    loop.add_timeout(IOLoop::Clock::now(), append, 1);
    loop.add_timeout(0s, append, 2);
    loop.call_at(loop.time(), append, 3);
    loop.call_later(0, append, 4);
    loop.call_at(IOLoop::Clock::now(), append, 5);
    loop.call_later(0ms, append, 6);
    loop.call_later(0, [&] { loop.stop(); });
    loop.wait();
    std::sort(results.begin(), results.end());
    CHECK(results == std::vector{1, 2, 3, 4, 5, 6});
  }

  // Python: ioloop_test.TestIOLoop.test_add_timeout_return
  TEST_CASE("IOLoop.add_timeout: returns what remove_timeout accepts (L12)") {
    test::Loop loop;
    bool called = false;
    const Timeout handle = loop.add_timeout(IOLoop::Clock::now(), [&] { called = true; });
    CHECK(static_cast<bool>(handle));
    loop.remove_timeout(handle);
    loop.iterate(2);
    CHECK_FALSE(called);
  }

  // Python: ioloop_test.TestIOLoop.test_call_at_return
  TEST_CASE("IOLoop.call_at: returns what remove_timeout accepts (L12)") {
    test::Loop loop;
    bool called = false;
    const Timeout handle = loop.call_at(loop.time(), [&] { called = true; });
    CHECK(static_cast<bool>(handle));
    loop.remove_timeout(handle);
    loop.iterate(2);
    CHECK_FALSE(called);
  }

  // Python: ioloop_test.TestIOLoop.test_call_later_return
  TEST_CASE("IOLoop.call_later: returns what remove_timeout accepts (L12)") {
    test::Loop loop;
    bool called = false;
    const Timeout handle = loop.call_later(0, [&] { called = true; });
    CHECK(static_cast<bool>(handle));
    loop.remove_timeout(handle);
    loop.iterate(2);
    CHECK_FALSE(called);
  }

  // Python: ioloop_test.TestIOLoop.test_remove_timeout_after_fire
  TEST_CASE("IOLoop.remove_timeout: harmless when it has run, was removed, or is none (L9)") {
    test::Loop loop;
    const Timeout handle = loop.add_timeout(IOLoop::Clock::now(), [&] { loop.stop(); });
    loop.wait();
    loop.remove_timeout(handle);
    loop.remove_timeout(handle);
    loop.remove_timeout(Timeout());
    CHECK_FALSE(static_cast<bool>(Timeout()));

    Timeout itself;
    itself = loop.call_later(0, [&] {
      loop.remove_timeout(itself);
      loop.stop();
    });
    loop.wait();
  }

  // Python: ioloop_test.TestIOLoop.test_remove_timeout_from_timeout
  TEST_CASE("IOLoop.remove_timeout: from a timeout, of one that is due as well (L8 L9)") {
    test::Loop loop;
    std::vector<bool> calls{false, false};
    const auto now = IOLoop::Clock::now();
    Timeout t2;
    loop.add_timeout(now + 10ms, [&] {
      calls[0] = true;
      loop.remove_timeout(t2);
    });
    t2 = loop.add_timeout(now + 20ms, [&] { calls[1] = true; });
    loop.add_timeout(now + 30ms, [&] { loop.stop(); });
    std::this_thread::sleep_until(now + 30ms);  // so that all are due at once
    loop.wait();
    CHECK(calls == std::vector<bool>{true, false});
  }

  TEST_CASE("IOLoop.remove_timeout: a removed timeout never runs, wherever it is removed (L8)") {
    test::Loop loop;
    bool called = false;
    const auto never = [&] { called = true; };
    const auto due = IOLoop::Clock::now();
    const Timeout by_callback = loop.call_at(due, never);
    const Timeout by_done_callback = loop.call_at(due, never);
    const Timeout outside = loop.call_at(due, never);
    Timeout by_earlier;
    loop.remove_timeout(outside);
    loop.add_callback([&] { loop.remove_timeout(by_callback); });
    make_ready_future(1).add_done_callback([&] { loop.remove_timeout(by_done_callback); });
    loop.call_at(due, [&] { loop.remove_timeout(by_earlier); });
    by_earlier = loop.call_at(due, never);
    loop.call_later(5ms, [&] { loop.stop(); });
    loop.wait();
    CHECK_FALSE(called);
  }

  TEST_CASE("IOLoop.remove_timeout: the callable goes at once, and may do as it likes (L10)") {
    test::Loop loop;
    bool destroyed = false;
    Timeout other = loop.call_later(1h, [] {});
    const Timeout handle = loop.call_later(1h, [end = at_end([&] {
                                                  destroyed = true;
                                                  loop.remove_timeout(other);
                                                  loop.call_later(1h, [] {});
                                                })] {});
    loop.remove_timeout(handle);
    CHECK(destroyed);
    CHECK(static_cast<bool>(handle));
  }

  // Python: ioloop_test.TestIOLoop.test_remove_timeout_cleanup
  TEST_CASE("IOLoop.remove_timeout: a million far timeouts leave no memory behind (L10)") {
    test::Loop loop;
    for (int i = 0; i < 2000; ++i) {
      const Timeout timeout = loop.add_timeout(1h, [] {});
      loop.remove_timeout(timeout);
    }
    loop.iterate(2);

    const long bytes = resident_bytes();
    for (int i = 0; i < (test::sanitized ? 10'000 : 1'000'000); ++i) {
      const Timeout timeout = loop.call_later(3600, [memory = std::string(200, 'x')] {});
      loop.remove_timeout(timeout);
    }
    if (!test::sanitized) CHECK(resident_bytes() < bytes + 1'000'000);

    std::vector<Timeout> timeouts;
    for (int i = 0; i < 100'000; ++i) timeouts.push_back(loop.call_later(3600 + i, [] {}));
    const long peak = resident_bytes();
    for (const Timeout& timeout : timeouts) loop.remove_timeout(timeout);
    timeouts.clear();
    for (int i = 0; i < 100'000; ++i) timeouts.push_back(loop.call_later(3600 + i, [] {}));
    if (!test::sanitized) CHECK(resident_bytes() < peak + 2'000'000);
    loop.iterate(2);
  }

  TEST_CASE("IOLoop.call_at: those with the same deadline run in the order of adding (L11)") {
    test::Loop loop;
    const auto when = IOLoop::Clock::now() + 2ms;
    std::vector<int> order;
    std::vector<Timeout> timeouts;
    for (int i = 0; i < 100; ++i) {
      timeouts.push_back(loop.call_at(when, [&order, i] { order.push_back(i); }));
    }
    for (std::size_t i = 0; i < 100; i += 7) loop.remove_timeout(timeouts[i]);
    loop.call_at(when, [&] { loop.stop(); });
    loop.wait();
    std::vector<int> expected;
    for (int i = 0; i < 100; ++i) {
      if (i % 7 != 0) expected.push_back(i);
    }
    CHECK(order == expected);
  }

  TEST_CASE(
      "IOLoop.call_at: thousands added and removed at random run by deadline, then order (L11)") {
    test::Loop loop;
    std::mt19937 random(7);  // NOLINT: the same each time
    const auto begin = IOLoop::Clock::now();
    std::map<std::pair<int, int>, Timeout> pending;
    std::vector<std::pair<int, int>> order;
    for (int i = 0; i < 5000; ++i) {
      const std::pair key(static_cast<int>(random() % 200), i);
      pending[key] =
          loop.call_at(begin + key.first * 10us, [&order, key] { order.push_back(key); });
      if (random() % 3 == 0) {
        auto victim = pending.lower_bound({static_cast<int>(random() % 200), 0});
        if (victim == pending.end()) victim = pending.begin();
        loop.remove_timeout(victim->second);
        pending.erase(victim);
      }
    }
    loop.call_at(begin + 10ms, [&] { loop.stop(); });
    loop.wait();
    std::vector<std::pair<int, int>> expected;
    for (const auto& entry : pending) expected.push_back(entry.first);
    CHECK(order == expected);
  }

  TEST_CASE("IOLoop.call_later: an earlier timeout added later runs first") {
    test::Loop loop;
    std::string order;
    loop.call_later(10ms, [&] {
      order += "c";
      loop.stop();
    });
    loop.call_later(5ms, [&] { order += "b"; });
    loop.call_later(1ms, [&] { order += "a"; });
    loop.wait();
    CHECK(order == "abc");
  }

  TEST_CASE("IOLoop.call_later: NaN is an error from the call, and the loop goes on") {
    test::Loop loop;
    CHECK_THROWS_WITH_AS(loop.call_later(not_a_number, [] {}), doctest::Contains("NaN"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(loop.call_at(not_a_number, [] {}), doctest::Contains("NaN"),
                         std::invalid_argument);
    CHECK_THROWS_AS(loop.add_timeout(std::chrono::duration<double>(not_a_number), [] {}),
                    std::invalid_argument);
    CHECK(loop.run([] { return 1; }) == 1);
  }

  TEST_CASE("IOLoop.call_later: what is past runs in the next iteration, what is too far never") {
    test::Loop loop;
    int past = 0;
    bool far = false;
    loop.call_later(-5, [&] { ++past; });
    loop.call_later(-infinity, [&] { ++past; });
    loop.call_later(-1h, [&] { ++past; });
    loop.call_at(loop.time() - 100, [&] { ++past; });
    loop.call_at(-infinity, [&] { ++past; });
    loop.call_at(IOLoop::Clock::time_point::min(), [&] { ++past; });
    loop.call_later(infinity, [&] { far = true; });
    loop.call_later(1e300, [&] { far = true; });
    loop.call_at(infinity, [&] { far = true; });
    loop.call_at(IOLoop::Clock::time_point::max(), [&] { far = true; });
    CHECK(past == 0);
    loop.call_later(2ms, [&] { loop.stop(); });
    loop.wait();
    CHECK(past == 6);
    CHECK_FALSE(far);
  }

  TEST_CASE(
      "IOLoop.call_later: a due timeout that adds another does not keep others waiting (L4)") {
    test::Loop loop;
    int count = 0;
    std::function<void()> again = [&] {
      ++count;
      loop.call_later(0, std::ref(again));
    };
    loop.call_later(0, std::ref(again));
    loop.add_callback([&] { loop.add_callback([&] { loop.stop(); }); });
    loop.wait();
    CHECK(count < 100);
  }

  TEST_CASE("IOLoop.time: monotonic, and what call_at takes (L13)") {
    static_assert(IOLoop::Clock::is_steady);
    test::Loop loop;
    const double before = loop.time();
    double ran = 0;
    loop.call_at(before + 0.003, [&] {
      ran = loop.time();
      loop.stop();
    });
    loop.wait();
    CHECK(ran >= before + 0.003);
  }

  TEST_CASE("IOLoop.call_later: a coroutine that it calls is kept alive, its failure logged") {
    test::Loop loop;
    const test::ExpectLog expected(log::app_log, "CustomError: text");
    loop.call_later(0, [text = std::string("text")]() -> Future<void> {
      co_await gen::moment;
      throw CustomError(text);
    });
    loop.run_until([&] { return expected.count() > 0; });
    CHECK(expected.count() == 1);
  }

  TEST_CASE("Timeout: the handle may outlive the loop") {
    Timeout pending;
    Timeout ran;
    std::optional<test::Loop> loop(std::in_place);
    pending = loop->call_later(1h, [] {});
    ran = loop->call_later(0, [&] { loop->stop(); });
    loop->wait();
    loop.reset();
    const Timeout copy = pending;
    test::Loop other;
    other.remove_timeout(pending);
    other.remove_timeout(ran);
    CHECK(static_cast<bool>(copy));
  }

  // ---- Handlers -------------------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoop.test_multiple_add
  TEST_CASE("IOLoop.add_handler: a descriptor has one handler (L23)") {
    test::Loop loop;
    auto [socket, port] = test::bind_unused_port();
    const auto fd = socket.native_handle();
    loop.add_handler(
        fd, [](int, int) {}, IOLoop::READ);
    CHECK_THROWS_WITH_AS(loop.add_handler(
                             fd, [](int, int) {}, IOLoop::READ),
                         doctest::Contains("has a handler already"), std::invalid_argument);
    loop.remove_handler(fd);
    loop.add_handler(
        fd, [](int, int) {}, IOLoop::READ);
    loop.remove_handler(fd);
  }

  // Python: ioloop_test.TestIOLoop.test_remove_without_add
  TEST_CASE("IOLoop.remove_handler: harmless when there is none (L23)") {
    test::Loop loop;
    auto [socket, port] = test::bind_unused_port();
    loop.remove_handler(socket.native_handle());
    loop.add_handler(
        socket.native_handle(), [](int, int) {}, IOLoop::READ);
    loop.remove_handler(socket.native_handle());
    loop.remove_handler(socket.native_handle());
    loop.remove_handler(-1);
  }

  // Python: ioloop_test.TestIOLoop.test_read_while_writeable
  TEST_CASE("IOLoop.add_handler: gets the events that it asked for, no others") {
    test::Loop loop;
    SocketPair pair;
    int seen = -1;
    loop.add_handler(
        pair.client(),
        [&](int fd, int events) {
          CHECK(fd == pair.client());
          seen = events;
          loop.stop();
        },
        IOLoop::READ);
    loop.add_timeout(10ms, [&] { send(pair.server(), "asdf"); });
    loop.wait();
    CHECK(seen == IOLoop::READ);
    loop.remove_handler(pair.client());
  }

  TEST_CASE("IOLoop.add_handler: events come combined, in one call") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    std::vector<int> seen;
    loop.add_handler(
        pair.client(),
        [&](int fd, int events) {
          seen.push_back(events);
          loop.remove_handler(fd);
          loop.stop();
        },
        IOLoop::READ | IOLoop::WRITE);
    loop.wait();
    CHECK(seen == std::vector{IOLoop::READ | IOLoop::WRITE});
  }

  TEST_CASE("IOLoop.add_handler: a hang-up comes unasked") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    int seen = 0;
    loop.add_handler(
        ends[0],
        [&](int fd, int events) {
          seen = events;
          loop.remove_handler(fd);
          loop.stop();
        },
        IOLoop::NONE);
    loop.add_callback([&] { ::close(ends[1]); });
    loop.wait();
    CHECK((seen & IOLoop::ERROR_EVENT) != 0);
    ::close(ends[0]);
  }

  TEST_CASE("IOLoop.add_handler: a closed reader is an error on the writing end of a pipe") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    int seen = 0;
    loop.add_handler(
        ends[1],
        [&](int fd, int events) {
          if ((events & IOLoop::ERROR) == 0) {
            ::close(ends[0]);
            return;
          }
          seen = events;
          loop.remove_handler(fd);
          loop.stop();
        },
        IOLoop::WRITE);
    loop.wait();
    CHECK((seen & IOLoop::ERROR) != 0);
    ::close(ends[1]);
  }

  TEST_CASE("IOLoop.add_handler: calls again while data is unread (L24)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "abcde");
    std::string text;
    int calls = 0;
    loop.add_handler(
        pair.client(),
        [&](int fd, int) {
          if (++calls <= 3) return;  // leaves everything unread
          text += receive(fd, 1);
          if (text.size() == 5) loop.stop();
        },
        IOLoop::READ);
    loop.wait();
    CHECK(text == "abcde");
    CHECK(calls == 8);
    loop.remove_handler(pair.client());
  }

  TEST_CASE("IOLoop.add_handler: others get their turn between two calls (L24)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    int calls = 0;
    loop.add_handler(
        pair.client(), [&](int, int) { ++calls; }, IOLoop::READ);
    loop.iterate(10);
    CHECK(calls > 0);
    CHECK(calls <= 20);
    bool timeout_ran = false;
    loop.call_later(1ms, [&] {
      timeout_ran = true;
      loop.stop();
    });
    loop.wait();
    CHECK(timeout_ran);
  }

  TEST_CASE("IOLoop.update_handler: changes what is waited for") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    std::vector<int> seen;
    loop.add_handler(
        pair.client(),
        [&](int fd, int events) {
          seen.push_back(events);
          if (seen.size() == 1) {
            loop.update_handler(fd, IOLoop::WRITE);
          } else if (seen.size() == 2) {
            loop.update_handler(fd, IOLoop::NONE);
            loop.call_later(1ms, [&] { loop.stop(); });
          }
        },
        IOLoop::READ);
    loop.wait();
    CHECK(seen == std::vector{IOLoop::READ, IOLoop::WRITE});
    CHECK_THROWS_WITH_AS(loop.update_handler(pair.server(), IOLoop::READ),
                         doctest::Contains("has no handler"), std::invalid_argument);
    loop.remove_handler(pair.client());
    CHECK_THROWS_AS(loop.update_handler(pair.client(), IOLoop::READ), std::invalid_argument);
  }

  // Python: ioloop_test.TestIOLoop.test_remove_handler_from_handler
  TEST_CASE("IOLoop.remove_handler: from another handler, of one with an event at hand (L22)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.client(), "abc");
    send(pair.server(), "abc");
    std::vector<std::string> chunks;
    const auto handle_read = [&](int fd, int) {
      chunks.push_back(receive(fd));
      loop.remove_handler(fd == pair.client() ? pair.server() : pair.client());
    };
    loop.add_handler(pair.client(), handle_read, IOLoop::READ);
    loop.add_handler(pair.server(), handle_read, IOLoop::READ);
    loop.run_until([&] { return !chunks.empty(); });
    loop.iterate(5);
    CHECK(chunks == std::vector<std::string>{"abc"});
  }

  TEST_CASE(
      "IOLoop.remove_handler: one replaced in the same batch does not get the old event (L22)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.client(), "abc");
    send(pair.server(), "abc");
    int first_kind = 0;
    std::vector<int> second_kind;
    const auto second = [&](int fd, int events) {
      second_kind.push_back(events);
      loop.remove_handler(fd);
    };
    const auto first = [&](int fd, int) {
      ++first_kind;
      const int other = fd == pair.client() ? pair.server() : pair.client();
      loop.remove_handler(fd);
      loop.remove_handler(other);
      loop.add_handler(other, second, IOLoop::WRITE);
    };
    loop.add_handler(pair.client(), first, IOLoop::READ);
    loop.add_handler(pair.server(), first, IOLoop::READ);
    loop.run_until([&] { return !second_kind.empty(); });
    loop.iterate(5);
    CHECK(first_kind == 1);
    CHECK(second_kind == std::vector{IOLoop::WRITE});
  }

  TEST_CASE("IOLoop.remove_handler: a handler may remove itself, and lives until it returns") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    std::string seen;
    bool destroyed = false;
    loop.add_handler(
        pair.client(),
        [&, text = std::string(100, 'x'), end = at_end([&] { destroyed = true; })](int fd, int) {
          loop.remove_handler(fd);
          seen = text;
          CHECK_FALSE(destroyed);
          loop.stop();
        },
        IOLoop::READ);
    loop.wait();
    CHECK(seen == std::string(100, 'x'));
    CHECK(destroyed);
  }

  TEST_CASE(
      "IOLoop.add_handler: what cannot be polled, and what is no handler, is an error (L26)") {
    test::Loop loop;
    const auto ignore = [](int, int) {};
    const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    try {
      loop.add_handler(file, ignore, IOLoop::READ);
      FAIL_CHECK("a regular file was accepted");
    } catch (const std::system_error& e) {
      CHECK(e.code() == std::errc::operation_not_permitted);
      const std::string what = e.what();
      CHECK(what.find("fd " + std::to_string(file)) != what.npos);
      CHECK(what.find("cannot be polled") != what.npos);
    }
    ::close(file);
    try {
      loop.add_handler(file, ignore, IOLoop::READ);
      FAIL_CHECK("a closed descriptor was accepted");
    } catch (const std::system_error& e) {
      CHECK(e.code() == std::errc::bad_file_descriptor);
    }
    CHECK_THROWS_AS(loop.add_handler(-1, ignore, IOLoop::READ), std::system_error);
    SocketPair pair;
    CHECK_THROWS_AS(loop.add_handler(pair.client(), {}, IOLoop::READ), std::invalid_argument);
    loop.add_handler(pair.client(), ignore, IOLoop::READ);  // nothing of it was kept
    loop.remove_handler(pair.client());
  }

  TEST_CASE(
      "IOLoop.add_handler: a closed descriptor's handler never sees the number's new owner (L25)") {
    test::Loop loop;
    SocketPair pair;
    bool stale = false;
    const int number = pair.client();
    const int duplicate = ::dup(number);  // keeps the old one in the system's set
    loop.add_handler(
        number, [&](int, int) { stale = true; }, IOLoop::READ);
    loop.remove_handler(number);
    pair.close_client();
    SocketPair other;
    REQUIRE(::dup2(other.client(), number) == number);
    send(other.server(), "new");
    send(pair.server(), "old");
    std::string text;
    loop.add_handler(
        number,
        [&](int fd, int) {
          text += receive(fd);
          if (text.size() >= 3) loop.stop();
        },
        IOLoop::READ);
    loop.wait();
    CHECK(text == "new");
    CHECK_FALSE(stale);
    loop.remove_handler(number);
    ::close(number);
    ::close(duplicate);
  }

  TEST_CASE(
      "IOLoop.add_handler: closed before it was removed, while a copy lives, it does no harm (L25)") {
    test::Loop loop;
    SocketPair pair;
    const int number = pair.client();
    const int duplicate = ::dup(number);
    bool stale = false;
    loop.add_handler(
        number, [&](int, int) { stale = true; }, IOLoop::READ);
    pair.close_client();
    loop.remove_handler(number);  // too late for the system: the copy keeps it in the set
    send(pair.server(), "old");
    SocketPair other;
    std::string text;
    loop.add_handler(
        other.client(),
        [&](int fd, int) {
          text += receive(fd);
          loop.stop();
        },
        IOLoop::READ);
    loop.call_later(5ms, [&] { send(other.server(), "new"); });
    loop.wait();
    CHECK(text == "new");
    CHECK_FALSE(stale);
    loop.call_later(50ms, [&] { loop.stop(); });
    const auto used = thread_time();
    loop.wait();
    CHECK(thread_time() - used < 20ms);  // nor does it keep the loop awake
    loop.remove_handler(other.client());
    ::close(duplicate);
  }

  TEST_CASE("IOLoop.add_handler: leaves the descriptor's flags alone") {
    test::Loop loop;
    SocketPair pair;
    const int before = ::fcntl(pair.client(), F_GETFL);
    send(pair.server(), "x");
    loop.add_handler(
        pair.client(), [&](int, int) { loop.stop(); }, IOLoop::READ | IOLoop::WRITE);
    loop.wait();
    CHECK((before & O_NONBLOCK) == 0);
    CHECK(::fcntl(pair.client(), F_GETFL) == before);
    loop.remove_handler(pair.client());
    CHECK(::fcntl(pair.client(), F_GETFL) == before);
  }

  TEST_CASE("IOLoop.add_handler: hundreds of descriptors in one loop") {
    test::Loop loop;
    std::vector<std::unique_ptr<SocketPair>> pairs;
    std::map<int, int> calls;
    for (int i = 0; i < 300; ++i) {
      pairs.push_back(std::make_unique<SocketPair>());
      loop.add_handler(
          pairs.back()->client(),
          [&](int fd, int) {
            receive(fd);
            ++calls[fd];
            if (calls.size() == 300) loop.stop();
          },
          IOLoop::READ);
      send(pairs.back()->server(), "x");
    }
    loop.wait();
    for (const auto& [fd, count] : calls) CHECK(count == 1);
    for (const auto& pair : pairs) loop.remove_handler(pair->client());
  }

  TEST_CASE("IOLoop.close: closes the descriptors only when asked to (L21)") {
    SocketPair pair;
    {
      test::Loop loop;
      loop.add_handler(
          pair.client(), [](int, int) {}, IOLoop::READ);
      loop.close();
    }
    CHECK(::fcntl(pair.client(), F_GETFD) >= 0);

    const int client = ::dup(pair.client());
    const int server = ::dup(pair.server());
    bool destroyed = false;
    test::Loop loop;
    loop.add_handler(
        client, [](int, int) {}, IOLoop::READ);
    // A handler that takes others with it, as one that owns their sockets does.
    loop.add_handler(
        server, [end = at_end([&] {
                   destroyed = true;
                   loop.remove_handler(client);
                   loop.remove_handler(server);
                 })](int, int) {},
        IOLoop::READ);
    loop.close(true);
    CHECK(destroyed);
    CHECK(::fcntl(server, F_GETFD) < 0);
    if (::fcntl(client, F_GETFD) >= 0) ::close(client);  // it was removed: no longer the loop's
  }
}
