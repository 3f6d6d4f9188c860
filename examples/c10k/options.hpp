// SPDX-License-Identifier: Apache-2.0
//
// What the user of c10k can vary.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace c10k {

struct Options {
  std::string server;                ///< The program to start as the server.
  std::size_t connections = 10000;   ///< To open and hold.
  std::chrono::seconds duration{5};  ///< How long lines are exchanged.
  std::size_t rate = 20000;          ///< Lines per second, of all connections; 0: no limit.
  std::size_t size = 64;             ///< Bytes of a line, its newline included.
  bool help = false;                 ///< Only the help was asked for.
};

/// \throws std::invalid_argument  naming the argument that is wrong.
Options parse_options(int argc, char** argv);

/// The text of --help.
std::string help_text();

}  // namespace c10k
