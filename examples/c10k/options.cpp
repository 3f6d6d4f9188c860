// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "../arguments.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include <unistd.h>

namespace c10k {
namespace {

// In the folder of this program, where the build puts it.
std::string default_server(std::string_view program) {
  const std::size_t slash = program.rfind('/');
  const auto folder = slash == std::string_view::npos ? "./" : program.substr(0, slash + 1);
  return std::string(folder) + "tcpecho_server";
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Arguments arguments(argc, argv);
  Options options;
  options.help = arguments.flag("--help");
  if (options.help) return options;
  options.server = arguments.text("--server", default_server(argv[0]));
  options.connections =
      arguments.number<std::size_t>("--connections", options.connections, 1, 1'000'000);
  options.duration = std::chrono::seconds(arguments.number<std::chrono::seconds::rep>(
      "--seconds", options.duration.count(), 1, 86'400));
  options.rate = arguments.number<std::size_t>("--rate", options.rate, 0, 10'000'000);
  options.size = arguments.number<std::size_t>("--size", options.size, 32, 1'048'576);
  arguments.done();
  if (::access(options.server.c_str(), X_OK) != 0) {
    throw std::invalid_argument(
        fmt::format("--server: {}: {}", options.server, std::strerror(errno)));
  }
  return options;
}

std::string help_text() {
  const Options defaults;
  return fmt::format(
      R"(Usage: c10k [OPTION...]

Starts an echo server, opens many connections to it on loopback, and lets all of them exchange lines
at the same time. Each line is different, and every byte that comes back is compared. Ends with a
table. Exit status: 0; 1 if a connection failed or a byte was wrong or lost; 2 for a wrong option;
130 if interrupted.

  --connections N   connections to open and hold (default {}); fewer, with a message, where the
                    limit of open files does not allow as many
  --seconds S       how long they exchange lines (default {})
  --rate N          lines per second of all connections together (default {}), but at least one
                    line of each; 0: each sends the next line as soon as it has got the last one
                    back, so that latency is mostly waiting for the other connections
  --size BYTES      length of a line, its newline included (default {}, at least 32)
  --server PATH     the server (default: tcpecho_server beside this program); is called with
                    `--port 0`, and prints `Listening on ADDRESS:PORT`
  --help            this text

Latency is measured from the call that writes a line to the return of the one that reads it back.
)",
      defaults.connections, defaults.duration.count(), defaults.rate, defaults.size);
}

}  // namespace c10k
