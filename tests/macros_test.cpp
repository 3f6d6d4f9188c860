// SPDX-License-Identifier: Apache-2.0
//
// The headers beside macros that platforms define: those of <windows.h> and <syslog.h>, and what
// debug builds are given.
#define ERROR 0
#define DEBUG 1
#define NDEBUG_LEVEL 2
#define INFO 3
#define WARNING 4
#define CRITICAL 5
#define FATAL 6
#define CONST const
#define IN
#define OUT
#define OPTIONAL
#define DELETE 7
#define NO_ERROR 0
#define interface struct

#include "tornado/tornado.hpp"

#include <doctest/doctest.h>

using namespace tornado;

TEST_SUITE("log") {
  TEST_CASE("LogLevel: its names are nobody's macros") {
    CHECK(to_string(LogLevel::debug) == "DEBUG");
    CHECK(to_string(LogLevel::info) == "INFO");
    CHECK(to_string(LogLevel::warning) == "WARNING");
    CHECK(to_string(LogLevel::error) == "ERROR");
    CHECK(to_string(LogLevel::critical) == "CRITICAL");
  }

  TEST_CASE("IOLoop.ERROR: has a second name, for where it is a macro") {
    CHECK(IOLoop::ERROR_EVENT == 0x18);
    CHECK((IOLoop::NONE | IOLoop::READ | IOLoop::WRITE) == 5);
  }
}
