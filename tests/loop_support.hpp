// SPDX-License-Identifier: Apache-2.0
//
// tests/loop_support.hpp: what tests that run a loop use, beside tests/support.hpp.
#pragma once

#include "support.hpp"
#include "tornado/ioloop.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TORNADO_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TORNADO_TEST_SANITIZED 1
#endif
#endif

namespace test {

/// A sanitizer takes part: memory is measured wrongly, and everything takes long.
#ifdef TORNADO_TEST_SANITIZED
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

/// An error that nothing else throws.
struct CustomError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// How long a test may take that waits for its loop. Python: `testing.get_async_test_timeout`.
inline std::chrono::seconds async_test_timeout() {
  const char* seconds = std::getenv("ASYNC_TEST_TIMEOUT");
  return std::chrono::seconds(seconds != nullptr ? std::atoi(seconds) : 5);
}

/// A loop of the test's own, current on its thread. Python: `testing.AsyncTestCase`.
class Loop : public tornado::IOLoop {
 public:
  explicit Loop(MakeCurrent make_current = MakeCurrent::always) : IOLoop(make_current) {}

  /// Runs the loop until something stops it; the test fails when nothing does in time.
  void wait() {
    bool timed_out = false;
    const tornado::Timeout guard = call_later(async_test_timeout(), [&] {
      timed_out = true;
      stop();
    });
    start();
    remove_timeout(guard);
    REQUIRE_MESSAGE(!timed_out, "the loop was not stopped in time");
  }

  /// Runs `f` as run_sync does, for as long as a test may take. Python: `testing.gen_test`.
  template <class F>
  auto run(F&& f) {
    return run_sync(std::forward<F>(f), tornado::Deadline(async_test_timeout()));
  }

  /// Runs iterations until `done()`; the test fails when that does not come true in time.
  template <class F>
  void run_until(F done) {
    std::function<void()> next = [&] {
      if (done()) return stop();
      add_callback(std::ref(next));
    };
    next();
    wait();
  }

  /// Runs `count` iterations.
  void iterate(int count = 1) {
    run_until([&] { return --count < 0; });
  }
};

/// How a child process ended that was forked to run `f`, and what it wrote to stderr.
struct Child {
  int status = -1;
  std::string text;

  bool aborted() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT; }
  bool succeeded() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

template <class F>
Child run_in_child(F f) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::fflush(nullptr);  // or the child might write it again
  const pid_t process = ::fork();
  if (process == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    std::signal(SIGABRT, SIG_DFL);  // doctest would tell the story of the crash
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::alarm(30);
    tornado::set_log_sink({});
    f();
    ::_exit(0);
  }
  ::close(ends[1]);
  Child child;
  char buffer[1024];
  for (;;) {
    const ssize_t size = ::read(ends[0], buffer, sizeof buffer);
    if (size <= 0) break;
    child.text.append(buffer, static_cast<std::size_t>(size));
  }
  ::close(ends[0]);
  ::waitpid(process, &child.status, 0);
  return child;
}

}  // namespace test
