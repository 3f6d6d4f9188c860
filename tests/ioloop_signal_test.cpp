// SPDX-License-Identifier: Apache-2.0
//
// IOLoop::add_signal_handler.
#include "ioloop_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/contextvars.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::CustomError;

namespace {

struct sigaction action_of(int signo) {
  struct sigaction action {};
  REQUIRE(::sigaction(signo, nullptr, &action) == 0);
  return action;
}

volatile std::sig_atomic_t application_calls = 0;
void application_handler(int, siginfo_t*, void*) { application_calls = application_calls + 1; }

// The application's own handler for SIGUSR1, for a test.
class ApplicationHandler {
 public:
  ApplicationHandler() {
    struct sigaction action {};
    action.sa_sigaction = application_handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigemptyset(&action.sa_mask);
    ::sigaddset(&action.sa_mask, SIGUSR2);
    application_calls = 0;
    REQUIRE(::sigaction(SIGUSR1, &action, &before_) == 0);
  }
  ~ApplicationHandler() { ::sigaction(SIGUSR1, &before_, nullptr); }
  ApplicationHandler(const ApplicationHandler&) = delete;
  ApplicationHandler& operator=(const ApplicationHandler&) = delete;

  bool is_set() const {
    const struct sigaction now = action_of(SIGUSR1);
    return now.sa_sigaction == application_handler && (now.sa_flags & SA_SIGINFO) != 0 &&
           (now.sa_flags & SA_NODEFER) != 0 && ::sigismember(&now.sa_mask, SIGUSR2) == 1;
  }

 private:
  struct sigaction before_ {};
};

/// Whether a thread of this process waits in the system.
bool is_asleep(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');
  return name_end != text.npos && text.compare(name_end, 3, ") S") == 0;
}

}  // namespace

TEST_SUITE("ioloop") {
  TEST_CASE(
      "IOLoop.add_signal_handler: an ordinary callback on the loop's thread, again and again") {
    test::Loop loop;
    std::vector<int> seen;
    const std::thread::id here = std::this_thread::get_id();
    loop.add_signal_handler(SIGUSR1, [&](int signo) {
      CHECK(std::this_thread::get_id() == here);
      CHECK(&IOLoop::current() == &loop);
      seen.push_back(signo);
      loop.stop();
    });
    for (int i = 1; i <= 3; ++i) {
      std::thread([] { ::kill(::getpid(), SIGUSR1); }).join();
      loop.wait();
      CHECK(seen == std::vector<int>(static_cast<std::size_t>(i), SIGUSR1));
    }
    loop.call_later(2ms, [] { ::raise(SIGUSR1); });  // the loop sleeps until then
    loop.wait();
    CHECK(seen.size() == 4);
  }

  TEST_CASE("IOLoop.add_signal_handler: never inside what runs") {
    test::Loop loop;
    bool inside = false;
    bool seen = false;
    loop.add_signal_handler(SIGUSR1, [&] {
      CHECK_FALSE(inside);
      seen = true;
      loop.stop();
    });
    loop.add_callback([&] {
      inside = true;
      ::raise(SIGUSR1);
      CHECK_FALSE(seen);
      inside = false;
    });
    loop.wait();
  }

  TEST_CASE("IOLoop.add_signal_handler: several signals, each with its number") {
    test::Loop loop;
    std::vector<int> seen;
    const auto note = [&](int signo) { seen.push_back(signo); };
    loop.add_signal_handler(SIGUSR1, note);
    loop.add_signal_handler(SIGUSR2, note);
    loop.add_signal_handler(SIGTERM, note);
    loop.add_signal_handler(SIGHUP, note);
    ::raise(SIGUSR2);
    loop.run_until([&] { return seen.size() == 1; });
    ::raise(SIGTERM);
    loop.run_until([&] { return seen.size() == 2; });
    ::raise(SIGHUP);
    loop.run_until([&] { return seen.size() == 3; });
    CHECK(seen == std::vector{SIGUSR2, SIGTERM, SIGHUP});
  }

  TEST_CASE("IOLoop.add_signal_handler: a burst is one call, and none of it is lost") {
    test::Loop loop;
    int calls = 0;
    loop.add_signal_handler(SIGUSR1, [&] { ++calls; });
    // More than the ring of add_callback_from_signal holds, which is full besides.
    while (loop.add_callback_from_signal([](void*) {})) {
    }
    for (int i = 0; i < 1000; ++i) ::raise(SIGUSR1);
    loop.run_until([&] { return calls > 0; });
    loop.iterate(3);
    CHECK(calls == 1);
    // One that comes while the callback runs is a call of its own.
    bool raised = false;
    loop.add_signal_handler(SIGUSR1, [&] {
      ++calls;
      if (!std::exchange(raised, true)) ::raise(SIGUSR1);
    });
    ::raise(SIGUSR1);
    loop.run_until([&] { return calls == 3; });
  }

  TEST_CASE(
      "IOLoop.add_signal_handler: from threads, while the loop is busy, the last one counts") {
    test::Loop loop;
    std::atomic<int> sent{0};
    int seen = 0;
    loop.add_signal_handler(SIGUSR1, [&] { seen = sent; });
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, main = ::pthread_self()] {
        for (int i = 0; i < 200; ++i) {
          ++sent;
          ::pthread_kill(i % 2 == 0 ? main : ::pthread_self(), SIGUSR1);
        }
      });
    }
    loop.run_until([&] { return seen == 800; });
    for (auto& thread : threads) thread.join();
  }

  TEST_CASE("IOLoop.add_signal_handler: a second one of the same loop replaces the first") {
    test::Loop loop;
    const ApplicationHandler application;
    int first = 0;
    int second = 0;
    loop.add_signal_handler(SIGUSR1, [&] { ++first; });
    loop.add_signal_handler(SIGUSR1, [&] { ++second; });
    ::raise(SIGUSR1);
    loop.run_until([&] { return second == 1; });
    CHECK(first == 0);
    CHECK(loop.remove_signal_handler(SIGUSR1));
    CHECK(application.is_set());
  }

  TEST_CASE("IOLoop.add_signal_handler: system calls that the signal interrupts go on") {
    test::Loop loop;
    loop.add_signal_handler(SIGUSR1, [] {});
    CHECK((action_of(SIGUSR1).sa_flags & SA_RESTART) != 0);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    std::thread thread([main = ::pthread_self(), id = ::gettid(), end = ends[1]] {
      for (int i = 0; i < 20; ++i) {
        while (!is_asleep(id)) std::this_thread::yield();
        ::pthread_kill(main, SIGUSR1);
      }
      CHECK(::write(end, "x", 1) == 1);
    });
    char byte = 0;
    CHECK(::read(ends[0], &byte, 1) == 1);  // not EINTR
    thread.join();
    ::close(ends[0]);
    ::close(ends[1]);
  }

  TEST_CASE("IOLoop.remove_signal_handler: the application's handler comes back, flags and all") {
    test::Loop loop;
    const ApplicationHandler application;
    int calls = 0;
    CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
    CHECK_FALSE(loop.remove_signal_handler(-1));
    loop.add_signal_handler(SIGUSR1, [&] { ++calls; });
    CHECK_FALSE(application.is_set());
    ::raise(SIGUSR1);
    CHECK(application_calls == 0);
    loop.run_until([&] { return calls == 1; });
    CHECK(loop.remove_signal_handler(SIGUSR1));
    CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
    CHECK(application.is_set());
    ::raise(SIGUSR1);
    CHECK(application_calls == 1);
    loop.iterate(3);
    CHECK(calls == 1);
  }

  TEST_CASE("IOLoop.remove_signal_handler: leaves alone what the program has set meanwhile") {
    test::Loop loop;
    const ApplicationHandler application;
    loop.add_signal_handler(SIGUSR1, [] {});
    std::signal(SIGUSR1, SIG_IGN);
    loop.remove_signal_handler(SIGUSR1);
    CHECK((action_of(SIGUSR1).sa_handler == SIG_IGN));
  }

  TEST_CASE(
      "IOLoop.remove_signal_handler: inside the callback, and one that has come is not called") {
    test::Loop loop;
    const ApplicationHandler application;
    int calls = 0;
    std::string seen;
    loop.add_signal_handler(SIGUSR1, [&, text = std::string(100, 'x')] {
      ++calls;
      ::raise(SIGUSR1);
      CHECK(loop.remove_signal_handler(SIGUSR1));
      CHECK(loop.remove_signal_handler(SIGUSR2));
      seen = text;  // still there
    });
    loop.add_signal_handler(SIGUSR2, [&] { FAIL_CHECK("was removed"); });
    ::raise(SIGUSR2);
    ::raise(SIGUSR1);
    loop.run_until([&] { return calls == 1; });
    loop.iterate(3);
    CHECK(calls == 1);
    CHECK(seen == std::string(100, 'x'));
    CHECK(application.is_set());
  }

  TEST_CASE("IOLoop.close: gives the signals back, and destroys the callbacks") {
    const ApplicationHandler application;
    auto captured = std::make_shared<int>(1);
    {
      test::Loop loop;
      loop.add_signal_handler(SIGUSR1, [captured] {});
      loop.add_signal_handler(SIGUSR2, [captured] {});
      ::raise(SIGUSR1);  // nobody will hear of it
      loop.close();
      CHECK(captured.use_count() == 1);
      CHECK(application.is_set());
      CHECK((action_of(SIGUSR2).sa_handler == SIG_DFL));
      CHECK_FALSE(loop.remove_signal_handler(SIGUSR1));
      CHECK_THROWS_WITH_AS(loop.add_signal_handler(SIGUSR1, [] {}),
                           "IOLoop::add_signal_handler: the loop has been closed",
                           std::logic_error);
    }
  }

  TEST_CASE("IOLoop.close: while signals keep coming") {
    const ApplicationHandler application;
    std::atomic<bool> done{false};
    std::thread thread([&] {
      while (!done) ::pthread_kill(::pthread_self(), SIGUSR1);
    });
    int calls = 0;
    for (int i = 0; i < 50; ++i) {
      test::Loop loop;
      loop.add_signal_handler(SIGUSR1, [&] {
        ++calls;
        loop.stop();
      });
      loop.wait();
    }
    done = true;
    thread.join();
    CHECK(calls >= 50);
  }

  TEST_CASE("IOLoop.add_signal_handler: one loop per signal, and any loop when it is free") {
    test::Loop loop;
    test::Loop other;
    int calls = 0;
    loop.add_signal_handler(SIGUSR1, [&] { ++calls; });
    CHECK_THROWS_WITH_AS(other.add_signal_handler(SIGUSR1, [] {}),
                         "add_signal_handler: another loop of this process handles signal 10",
                         std::logic_error);
    CHECK_FALSE(other.remove_signal_handler(SIGUSR1));
    other.add_signal_handler(SIGUSR2, [&] { other.stop(); });
    ::raise(SIGUSR2);
    other.wait();
    ::raise(SIGUSR1);
    loop.run_until([&] { return calls == 1; });
    loop.remove_signal_handler(SIGUSR1);
    other.add_signal_handler(SIGUSR1, [&] { other.stop(); });
    ::raise(SIGUSR1);
    other.wait();
    CHECK(calls == 1);
  }

  TEST_CASE("IOLoop.add_signal_handler: what is no signal, or cannot be handled, is an error") {
    test::Loop loop;
    for (const int signo : {0, -1, 1000}) {
      CHECK_THROWS_WITH_AS(
          loop.add_signal_handler(signo, [] {}),
          ("add_signal_handler: there is no signal " + std::to_string(signo)).c_str(),
          std::invalid_argument);
    }
    try {
      loop.add_signal_handler(SIGKILL, [] {});
      FAIL_CHECK("SIGKILL was accepted");
    } catch (const std::system_error& error) {
      CHECK(error.code() == std::errc::invalid_argument);
      CHECK(std::string(error.what()).find("signal 9") != std::string::npos);
    }
    CHECK_FALSE(loop.remove_signal_handler(SIGKILL));
  }

  TEST_CASE("IOLoop.add_signal_handler: a coroutine is kept alive, and its failure logged") {
    test::Loop loop;
    const test::ExpectLog logged(log::app_log, "test::CustomError: broken");
    std::string seen;
    loop.add_signal_handler(SIGUSR1, [&, text = std::string(100, 'x')](int signo) -> Future<void> {
      loop.remove_signal_handler(signo);  // the callable is the coroutine's alone now
      co_await gen::sleep(1ms);
      seen = text;
      loop.stop();
      throw CustomError("broken");
    });
    ::raise(SIGUSR1);
    loop.wait();
    loop.iterate(2);
    CHECK(seen == std::string(100, 'x'));
    CHECK(logged.count() == 1);
  }

  TEST_CASE("IOLoop.add_signal_handler: an exception is logged, and the next signal is heard") {
    test::Loop loop;
    const test::ExpectLog logged(log::app_log, "Exception in callback: test::CustomError: broken");
    int calls = 0;
    loop.add_signal_handler(SIGUSR1, [&] {
      ++calls;
      throw CustomError("broken");
    });
    ::raise(SIGUSR1);
    loop.run_until([&] { return calls == 1; });
    ::raise(SIGUSR1);
    loop.run_until([&] { return calls == 2; });
    CHECK(logged.count() == 2);
  }

  TEST_CASE("IOLoop.add_signal_handler: with the context variables of where it was added") {
    test::Loop loop;
    const ContextVar<std::string> name("name", "");
    std::string seen;
    loop.add_callback([&] {
      name.set("adder");
      loop.add_signal_handler(SIGUSR1, [&] {
        seen = name.get();
        loop.stop();
      });
      ::raise(SIGUSR1);
    });
    loop.wait();
    CHECK(seen == "adder");
  }

  TEST_CASE("IOLoop.add_signal_handler: stop, called by it, ends start") {
    test::Loop loop;
    loop.add_signal_handler(SIGTERM, [&] { loop.stop(); });
    loop.call_later(1ms, [] { ::kill(::getpid(), SIGTERM); });
    loop.wait();
  }

  TEST_CASE("IOLoop.add_signal_handler: a forked child gets the earlier handlers") {
    test::Loop loop;
    const ApplicationHandler application;
    int calls = 0;
    loop.add_signal_handler(SIGUSR1, [&] { ++calls; });
    loop.add_signal_handler(SIGUSR2, [&] { ++calls; });
    const test::Child child = test::run_in_child([&] {
      if (!application.is_set()) ::_exit(1);
      ::raise(SIGUSR1);
      if (application_calls != 1) ::_exit(2);
      ::raise(SIGUSR2);  // ends it
    });
    CHECK(WIFSIGNALED(child.status));
    CHECK(WTERMSIG(child.status) == SIGUSR2);
    loop.iterate(3);
    CHECK(calls == 0);
    ::raise(SIGUSR1);
    loop.run_until([&] { return calls == 1; });
  }
}
