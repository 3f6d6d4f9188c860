// SPDX-License-Identifier: Apache-2.0
//
// A program with the bridge, for the linker.
#include "tornado/asio.hpp"

int main() {
  asio::io_context io;
  return tornado::make_ioloop(io) == nullptr;
}
