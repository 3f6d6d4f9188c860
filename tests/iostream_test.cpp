// SPDX-License-Identifier: Apache-2.0
#include "tornado/iostream.hpp"

#include "support.hpp"

TEST_SUITE("iostream") {
  TEST_CASE("stub") {}
}
