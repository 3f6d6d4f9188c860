// SPDX-License-Identifier: Apache-2.0
//
// tests/main.cpp: the program that runs all tests, and the rule that none may log unexpectedly.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "tornado/log.hpp"

#include <doctest/doctest.h>

#include <string>

// libstdc++ counts the references to an exception where ThreadSanitizer cannot see it. So a thread
// that frees the exception which another has caught, and no longer needs, looks like a race.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:std::__exception_ptr::exception_ptr::_M_release\n";
}

namespace {

// Fails at once, from whatever thread logs: when doctest tells of the end of a test, its result is
// settled.
void fail_on_warning(const tornado::LogRecord& record) {
  if (record.level < tornado::LogLevel::warning) return;
  FAIL_CHECK("unexpected log: ", std::string(to_string(record.level)), ":",
             std::string(record.logger), ":", std::string(record.message));
}

class NoUnexpectedLog : public doctest::IReporter {
 public:
  explicit NoUnexpectedLog(const doctest::ContextOptions&) {}

  void test_case_start(const doctest::TestCaseData&) override {
    tornado::set_log_sink(fail_on_warning);
  }
  void test_case_end(const doctest::CurrentTestCaseStats&) override { tornado::set_log_sink({}); }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("no_unexpected_log", 1, NoUnexpectedLog);

}  // namespace
