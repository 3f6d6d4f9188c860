// SPDX-License-Identifier: Apache-2.0
#include "tornado/log.hpp"

#include "support.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace tornado;

namespace {

// Puts another sink in place for a scope.
class WithSink {
 public:
  explicit WithSink(LogSink sink) : previous_(set_log_sink(std::move(sink))) {}
  ~WithSink() { set_log_sink(std::move(previous_)); }

 private:
  LogSink previous_;
};

// The records logged by `f`, as "LEVEL:logger:message".
template <class F>
std::vector<std::string> records_of(F f) {
  std::vector<std::string> records;
  const WithSink sink([&](const LogRecord& record) {
    records.push_back(
        fmt::format("{}:{}:{}", to_string(record.level), record.logger, record.message));
  });
  f();
  return records;
}

// What `f` writes to descriptor 2.
template <class F>
std::string stderr_of(F f) {
  std::FILE* const file = std::tmpfile();
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(::fileno(file), STDERR_FILENO);
  f();
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::rewind(file);
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

using Records = std::vector<std::string>;

// Constructed before whatever logging makes on first use, and so destroyed after it.
struct AtExit {
  bool enabled = false;
  ~AtExit() {
    if (enabled) log::gen_log.warning("late");
  }
} at_exit;

const Records before_main = records_of([] { log::app_log.error("early"); });

struct CountsFormatting {
  int& count;
};

struct FailsToFormat {};

struct NotAnException {};

struct CustomError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class E>
std::string describe(E e) {
  return log::describe(std::make_exception_ptr(e));
}

}  // namespace

template <>
struct fmt::formatter<CountsFormatting> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  auto format(const CountsFormatting& value, format_context& context) const {
    ++value.count;
    return context.out();
  }
};

template <>
struct fmt::formatter<FailsToFormat> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  auto format(const FailsToFormat&, format_context& context) const {
    if (true) throw CustomError("cannot say it");
    return context.out();
  }
};

TEST_SUITE("log") {
  TEST_CASE("Logger: the three have Python's names") {
    CHECK(log::access_log.name() == "tornado.access");
    CHECK(log::app_log.name() == "tornado.application");
    CHECK(log::gen_log.name() == "tornado.general");
  }

  TEST_CASE("Logger: records carry level, logger, formatted message and time") {
    const auto before = std::chrono::system_clock::now();
    std::chrono::system_clock::time_point time;
    const WithSink sink([&](const LogRecord& record) { time = record.time; });
    const Records records = records_of([] {
      std::string owned = "owned";
      const int number = 7;
      log::app_log.warning("{} and {}", owned, number);
      log::app_log.error("{:>4}", 3.5);
      log::gen_log.critical("plain");
    });
    CHECK(records == Records{"WARNING:tornado.application:owned and 7",
                             "ERROR:tornado.application: 3.5", "CRITICAL:tornado.general:plain"});
    log::gen_log.error("now");
    CHECK(time >= before);
    CHECK(time <= std::chrono::system_clock::now());
  }

  TEST_CASE("Logger.set_level: warnings and above unless told otherwise, for each logger") {
    Logger one("one");
    Logger other("other");
    const Records records = records_of([&] {
      one.info("too little");
      one.set_level(LogLevel::debug);
      one.debug("d");
      one.info("i");
      one.log(LogLevel::info, "{}", "l");
      other.info("too little");
      other.set_level(LogLevel::critical);
      other.error("too little");
    });
    CHECK(records == Records{"DEBUG:one:d", "INFO:one:i", "INFO:one:l"});
    CHECK(one.level() == LogLevel::debug);
    CHECK(one.is_enabled(LogLevel::debug));
    CHECK_FALSE(other.is_enabled(LogLevel::error));
    CHECK(other.is_enabled(LogLevel::critical));
  }

  TEST_CASE("Logger: a message below the level is not formatted") {
    int count = 0;
    CHECK(records_of([&] { log::gen_log.info("{}", CountsFormatting{count}); }).empty());
    CHECK(count == 0);
    records_of([&] { log::gen_log.warning("{}", CountsFormatting{count}); });
    CHECK(count == 1);
  }

  TEST_CASE("Logger: what cannot be formatted is reported, not thrown") {
    const Records records = records_of([] { log::gen_log.error("value {}", FailsToFormat{}); });
    REQUIRE(records.size() == 1);
    CHECK(records[0].starts_with("ERROR:tornado.general:value {} (not formatted: "));
    CHECK(records[0].ends_with("CustomError: cannot say it)"));
  }

  TEST_CASE("Logger: usable before main") {
    CHECK(before_main == Records{"ERROR:tornado.application:early"});
  }

  TEST_CASE("Logger: usable in the destructors of static objects") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    std::fflush(stdout);  // or the child would write it once more
    const pid_t child = ::fork();
    if (child == 0) {
      // On the heap, being long: if the sink were destroyed, this would be gone.
      const std::string prefix = "written while static objects are destroyed: ";
      set_log_sink([prefix, out = ends[1]](const LogRecord& record) {
        const std::string text = prefix + std::string(record.message);
        if (::write(out, text.data(), text.size()) < 0) std::abort();
      });
      at_exit.enabled = true;
      std::exit(0);
    }
    ::close(ends[1]);
    char buffer[100];
    const ssize_t size = ::read(ends[0], buffer, sizeof buffer);
    ::close(ends[0]);
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    CHECK(std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(size, 0))) ==
          "written while static objects are destroyed: late");
  }

  TEST_CASE("set_log_sink: returns the previous sink, and an empty one restores stderr") {
    int calls = 0;
    const std::string text = stderr_of([&] {
      const WithSink none({});
      CHECK_FALSE(set_log_sink([&](const LogRecord&) { ++calls; }));
      LogSink counting = set_log_sink({});
      REQUIRE(counting);
      counting({});
      log::gen_log.warning("to {}", "stderr");
      log::access_log.info("below the level");
      log::app_log.error("too");
    });
    CHECK(calls == 1);
    CHECK(text == "WARNING:tornado.general:to stderr\nERROR:tornado.application:too\n");
  }

  TEST_CASE("set_log_sink: a sink that throws loses nothing and does no harm") {
    const std::string text = stderr_of([] {
      const WithSink sink([](const LogRecord&) { throw CustomError("disk full"); });
      log::gen_log.warning("first");
      log::gen_log.warning("second");
    });
    for (const auto* part : {"WARNING:tornado.general:first\n", "WARNING:tornado.general:second\n",
                             "CustomError: disk full\n"}) {
      CHECK(text.find(part) != text.npos);
    }
  }

  TEST_CASE("set_log_sink: what a sink logs goes to stderr, without end or deadlock") {
    Records records;
    const std::string text = stderr_of([&] {
      records = records_of([&] {
        const WithSink sink(
            [](const LogRecord& record) { log::app_log.error("sink saw {}", record.message); });
        log::gen_log.warning("something");
      });
    });
    CHECK(records.empty());
    CHECK(text == "ERROR:tornado.application:sink saw something\n");
  }

  TEST_CASE("set_log_sink: a sink cannot replace itself") {
    bool refused = false;
    const WithSink sink([&](const LogRecord&) {
      CHECK_THROWS_WITH_AS(set_log_sink({}), "set_log_sink: called by the log sink",
                           std::logic_error);
      refused = true;
    });
    log::gen_log.warning("something");
    CHECK(refused);
  }

  TEST_CASE("set_log_sink: the sink is called by one thread at a time") {
    int count = 0;  // not atomic, on purpose
    {
      const WithSink sink([&](const LogRecord&) { ++count; });
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back([] {
          for (int j = 0; j < 1000; ++j) log::gen_log.warning("{}", j);
        });
      }
      for (auto& thread : threads) thread.join();
    }
    CHECK(count == 4000);
  }

  TEST_CASE("set_log_sink: the previous sink is not called once it has returned") {
    const WithSink quiet([](const LogRecord&) {});
    std::atomic<bool> stop = false;
    std::thread thread([&] {
      while (!stop) log::gen_log.warning("again");
    });
    int late_calls = 0;
    for (int i = 0; i < 200; ++i) {
      std::atomic<bool> active = true;
      std::atomic<int> calls = 0;
      const WithSink sink([&](const LogRecord&) {
        ++calls;
        std::this_thread::yield();
        if (!active) ++late_calls;
      });
      while (calls == 0) std::this_thread::yield();
      set_log_sink([](const LogRecord&) {});
      active = false;
    }
    stop = true;
    thread.join();
    CHECK(late_calls == 0);
  }

  TEST_CASE("log.describe: the type and what it says") {
    CHECK(describe(std::runtime_error("no such thing")) == "std::runtime_error: no such thing");
    CHECK(describe(CustomError("")).ends_with("CustomError"));
    CHECK(describe(CustomError("why")).ends_with("CustomError: why"));
    CHECK(describe(tornado::TimeoutError()) == "tornado::TimeoutError: Timeout");
  }

  TEST_CASE("log.describe: what is not a std::exception gives its type") {
    CHECK(describe(NotAnException()).ends_with("NotAnException"));
    CHECK(describe(7) == "int");
    CHECK(log::describe(nullptr) == "no exception");
  }

  TEST_CASE("log.log_exception: one line, at the level of an error") {
    const auto exception = std::make_exception_ptr(std::out_of_range("9 of 3"));
    const Records records = records_of([&] {
      // Braces are not format strings here.
      log::log_exception(log::app_log, "callback {} failed", exception);
      Logger silent("silent");
      silent.set_level(LogLevel::critical);
      log::log_exception(silent, "callback", exception);
    });
    CHECK(records ==
          Records{"ERROR:tornado.application:callback {} failed: std::out_of_range: 9 of 3"});
  }
}

TEST_SUITE("support") {
  TEST_CASE("test.ExpectLog: takes the records that match and passes on the others") {
    const Records passed_on = records_of([] {
      test::ExpectLog expected(log::app_log, "went wrong");
      test::ExpectLog inner(log::gen_log, "inner", LogLevel::warning);
      log::app_log.error("this went wrong");
      log::app_log.error("that went wrong");
      log::app_log.warning("went wrong, at another level");
      log::gen_log.error("went wrong, in another logger");
      log::app_log.error("something else");
      log::gen_log.warning("inner");
      CHECK(expected.count() == 2);
      CHECK(inner.count() == 1);
    });
    CHECK(passed_on == Records{"WARNING:tornado.application:went wrong, at another level",
                               "ERROR:tornado.general:went wrong, in another logger",
                               "ERROR:tornado.application:something else"});
  }

  TEST_CASE("test.ExpectLog: fails the test if nothing came" * doctest::should_fail()) {
    test::ExpectLog expected(log::app_log, "never said");
  }

  TEST_CASE("test: an unexpected warning fails the test" * doctest::should_fail()) {
    log::gen_log.warning("nobody expects this");
  }

  TEST_CASE("test: an unexpected warning of another thread fails the test" *
            doctest::should_fail()) {
    std::thread([] { log::gen_log.warning("nobody expects this"); }).join();
  }

  TEST_CASE("test: records below a warning do not fail the test") {
    log::gen_log.set_level(LogLevel::debug);
    log::gen_log.info("by the way");
    log::gen_log.set_level(LogLevel::warning);
  }
}
