// SPDX-License-Identifier: Apache-2.0
//
// Regex in a library that was built without PCRE2.
#include "support.hpp"
#include "tornado/regex.hpp"

#include <string>
#include <system_error>

using namespace tornado;

TEST_SUITE("regex") {
  TEST_CASE("Regex: without PCRE2 making one says what was not built in") {
    std::error_code code;
    std::string message;
    try {
      const Regex regex("a");
    } catch (const std::system_error& error) {
      code = error.code();
      message = error.what();
    }
    CHECK(code == std::errc::not_supported);
    CHECK(message.find("TORNADO_WITH_PCRE2") != std::string::npos);
  }
}
