// SPDX-License-Identifier: Apache-2.0
#include "tornado/tcpserver.hpp"

#include "support.hpp"

TEST_SUITE("tcpserver") {
  TEST_CASE("stub") {}
}
