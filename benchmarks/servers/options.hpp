// SPDX-License-Identifier: Apache-2.0
//
// The command line of the C++ servers here. All of them, in whatever language, take
//
//     --port N       0, the default: one that is free
//     --mode MODE    echo: bytes as they come; lines: each line by a write of its own
//     --buffer N     bytes of the buffer that a connection has of its own, where the library leaves
//                    that to its user (default 4096)
//
// and print `Listening on HOST:PORT`.
#pragma once

#include "../../examples/arguments.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

struct Options {
  std::uint16_t port = 0;
  bool lines = false;
  std::size_t buffer = 4096;
  std::string variant;  // where a server has several
  int loops = 1;        // where a server has several

  static Options parse(int argc, char** argv) {
    try {
      Arguments arguments(argc, argv);
      Options options;
      options.port = arguments.number<std::uint16_t>("--port", 0, 0, 65535);
      const std::string mode = arguments.text("--mode", "echo");
      if (mode != "echo" && mode != "lines") throw std::invalid_argument("--mode: echo or lines");
      options.lines = mode == "lines";
      options.buffer = arguments.number<std::size_t>("--buffer", 4096, 1, 1 << 20);
      options.variant = arguments.text("--variant", "");
      options.loops = arguments.number("--loops", 1, 1, 64);
      arguments.done();
      return options;
    } catch (const std::invalid_argument& error) {
      fmt::print(stderr, "{}: {}\n", argv[0], error.what());
      std::exit(2);
    }
  }
};

inline void say_listening(std::uint16_t port) {
  fmt::print("Listening on 127.0.0.1:{}\n", port);
  std::fflush(stdout);
}
