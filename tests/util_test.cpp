// SPDX-License-Identifier: Apache-2.0
#include "tornado/util.hpp"

#include "support.hpp"

#include <cerrno>
#include <chrono>
#include <exception>
#include <limits>
#include <optional>
#include <ratio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>

using namespace std::chrono_literals;
using tornado::Deadline;
namespace util = tornado::util;

namespace {

using Clock = std::chrono::steady_clock;

// How a user meets a Deadline: as an optional parameter.
std::optional<Clock::time_point> when(std::optional<Deadline> deadline = std::nullopt) {
  if (!deadline) return std::nullopt;
  return deadline->when();
}

template <class T>
concept IsDeadline = requires(T value) { when(value); };

static_assert(IsDeadline<std::chrono::seconds> && IsDeadline<std::chrono::duration<float>>);
static_assert(IsDeadline<Clock::time_point> && IsDeadline<std::nullopt_t>);
static_assert(IsDeadline<std::optional<std::chrono::milliseconds>>);
// A bare number has no unit, and another clock's time_point means nothing here.
static_assert(!IsDeadline<int> && !IsDeadline<double> && !IsDeadline<bool>);
static_assert(!std::is_constructible_v<Deadline, int> &&
              !std::is_constructible_v<Deadline, double>);
static_assert(!IsDeadline<std::chrono::system_clock::time_point>);

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_SUITE("util") {
  TEST_CASE("Deadline: a duration counts from the call") {
    for (const auto timeout : {1ns, 1'000'000'001ns, 8'639'999'999'999'999ns}) {
      const auto before = Clock::now();
      const auto end = when(timeout).value();
      const auto after = Clock::now();
      CHECK(end >= before + timeout);
      CHECK(end <= after + timeout);
    }
    const auto before = Clock::now();
    CHECK(when(1.5s).value() >= before + 1500ms);
    CHECK(when(std::chrono::duration<float>(0.25F)).value() >= before + 250ms);
  }

  TEST_CASE("Deadline: zero and negative durations mean now") {
    for (const auto timeout : {0s, -1s, std::chrono::seconds::min()}) {
      const auto before = Clock::now();
      const Deadline deadline = timeout;
      CHECK(deadline.when() >= before);
      CHECK(deadline.when() <= Clock::now());
      CHECK(deadline.expired());
    }
    CHECK(Deadline(std::chrono::duration<double>(-infinity)).expired());
  }

  TEST_CASE("Deadline: what the clock cannot represent means never") {
    const auto never = Deadline::never().when();
    CHECK(never == Clock::time_point::max());
    CHECK(when(std::chrono::hours::max()) == never);
    CHECK(when(std::chrono::nanoseconds::max()) == never);
    CHECK(when(std::chrono::duration<double>(infinity)) == never);
    CHECK(when(std::chrono::duration<double>(1e300)) == never);
    CHECK_FALSE(Deadline::never().expired());
  }

  TEST_CASE("Deadline: the longest durations that fit do not overflow") {
    // Around the room that is left, where a double is only good to half a microsecond.
    const auto room = Clock::time_point::max() - Clock::now();
    for (auto timeout = room - 4us; timeout < room; timeout += 100ns) {
      CHECK(when(timeout).value() > Clock::now() + 1h);
    }
  }

  TEST_CASE("Deadline: NaN is an error that says so") {
    CHECK_THROWS_WITH_AS(Deadline(std::chrono::duration<double>(nan)), doctest::Contains("NaN"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(Deadline(Clock::time_point() + std::chrono::duration<double>(nan)),
                         doctest::Contains("NaN"), std::invalid_argument);
  }

  TEST_CASE("Deadline: a time_point is taken as it is") {
    const auto past = Clock::now() - 1h;
    const auto future = Clock::now() + 1h;
    CHECK(when(past) == past);
    CHECK(Deadline(past).expired());
    CHECK(when(future) == future);
    CHECK_FALSE(Deadline(future).expired());
  }

  TEST_CASE("Deadline: a time_point in other units is converted, and saturates") {
    const auto now = Clock::now();
    CHECK(when(std::chrono::floor<std::chrono::seconds>(now)).value() > now - 2s);
    CHECK(when(now + 1.5s).value() > now + 1499ms);
    CHECK(when(now + 1.5s).value() < now + 1501ms);
    using Seconds = std::chrono::duration<double>;
    using TimePoint = std::chrono::time_point<Clock, Seconds>;
    CHECK(when(TimePoint(Seconds(infinity))) == Clock::time_point::max());
    CHECK(when(TimePoint(Seconds(-1e300))) == Clock::time_point::min());
    using Hours = std::chrono::time_point<Clock, std::chrono::hours>;
    CHECK(when(Hours::max()) == Clock::time_point::max());
  }

  TEST_CASE("Deadline: no deadline stays none") {
    CHECK_FALSE(when().has_value());
    CHECK_FALSE(when(std::optional<std::chrono::seconds>()).has_value());
  }

  TEST_CASE("TimeoutError: one type, with Python's default text") {
    static_assert(std::is_same_v<tornado::TimeoutError, tornado::util::TimeoutError>);
    static_assert(std::is_base_of_v<std::runtime_error, tornado::TimeoutError>);
    CHECK(std::string(tornado::TimeoutError().what()) == "Timeout");
    CHECK(std::string(tornado::TimeoutError("no answer in 2 s").what()) == "no answer in 2 s");
  }

  TEST_CASE("IOError: carries the error_code and is caught as a system_error") {
    try {
      throw tornado::IOError(ECONNRESET, std::system_category(), "read from 127.0.0.1:80");
    } catch (const std::system_error& e) {
      CHECK(e.code() == std::errc::connection_reset);
      CHECK(std::string(e.what()).starts_with("read from 127.0.0.1:80: "));
    }
  }

  // Python: util_test.TimedeltaToSecondsTest.test_timedelta_to_seconds
  TEST_CASE("timedelta_to_seconds: of any unit") {
    CHECK(util::timedelta_to_seconds(1h) == 3600.0);
    CHECK(util::timedelta_to_seconds(1500ms) == 1.5);
    CHECK(util::timedelta_to_seconds(std::chrono::duration<double, std::milli>(-2.5)) == -0.0025);
  }

  // Python: util_test.RaiseExcInfoTest.test_two_arg_exception
  TEST_CASE("raise_exc_info: throws the very exception, also one that takes several arguments") {
    struct TwoArgError : std::runtime_error {
      TwoArgError(int a, int b) : std::runtime_error(std::to_string(a + b)) {}
    };
    const auto error = std::make_exception_ptr(TwoArgError(1, 2));
    CHECK_THROWS_WITH_AS(util::raise_exc_info(error), "3", TwoArgError);
    CHECK_THROWS_WITH_AS(util::raise_exc_info(nullptr), "raise_exc_info: there is no exception",
                         std::invalid_argument);
  }

  TEST_CASE("errno_from_exception: the system's number, or none") {
    const auto number = [](const auto& error) {
      return util::errno_from_exception(std::make_exception_ptr(error));
    };
    CHECK(number(std::system_error(ECONNREFUSED, std::system_category())) == ECONNREFUSED);
    CHECK(number(std::system_error(EINVAL, std::generic_category())) == EINVAL);
    CHECK(number(tornado::IOError(std::error_code(EPIPE, std::system_category()))) == EPIPE);
    CHECK(number(std::runtime_error("x")) == std::nullopt);
    CHECK(util::errno_from_exception(nullptr) == std::nullopt);
  }

  // Python: util_test.ReUnescapeTest.test_re_unescape
  TEST_CASE("re_unescape: gives back what re.escape was given") {
    CHECK(util::re_unescape(R"(/favicon\.ico)") == "/favicon.ico");
    CHECK(util::re_unescape(R"(index\.html)") == "index.html");
    CHECK(util::re_unescape(R"(Hello,\ World!)") == "Hello, World!");
    CHECK(util::re_unescape(R"(\!\$\@\#\%\;)") == "!$@#%;");
    CHECK(util::re_unescape("\\\n\\\\") == "\n\\");
    CHECK(util::re_unescape("").empty());
  }

  // Python: util_test.ReUnescapeTest.test_re_unescape_raises_error_on_invalid_input
  TEST_CASE("re_unescape: what re.escape does not write is an error") {
    CHECK_THROWS_WITH_AS(util::re_unescape("\\d"), "re_unescape: cannot unescape '\\d'",
                         std::invalid_argument);
    CHECK_THROWS_AS(util::re_unescape("\\b"), std::invalid_argument);
    CHECK_THROWS_AS(util::re_unescape("\\Z"), std::invalid_argument);
    CHECK_THROWS_AS(util::re_unescape("x\\"), std::invalid_argument);
  }
}
