// SPDX-License-Identifier: Apache-2.0
//
// Loads an echo server and checks every byte that comes back; what it prints, a `name value` per
// line, is for benchmarks/bench.py. One thread on epoll, without any library.
#include "../../examples/arguments.hpp"
#include "meter.hpp"
#include "workloads.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view help = R"(Usage: echo_load WORKLOAD --port N [OPTION...]

WORKLOAD: ping-pong, stream, churn, lines or idle (benchmarks/load/workloads.hpp)

  --port N          of the server, on 127.0.0.1
  --connections N   at a time (default 64)
  --size N          bytes of a message (default 64)
  --idle N          connections that wait beside those, for idle (default 9000)
  --seconds X       how long (default 1)
  --pid N           the server's process, whose CPU time and memory are looked at
  --syscalls FILE   where libcount_syscalls.so, loaded into the server, counts its system calls
  --help            this text
)";

void run(const std::string& workload, Arguments arguments) {
  constexpr std::size_t most = 1'000'000;
  const auto port = arguments.number<std::uint16_t>("--port", 0, 1, 65535);
  const auto connections = arguments.number<std::size_t>("--connections", 64, 1, most);
  const auto size = arguments.number<std::size_t>("--size", 64, 1, 65536);
  const auto idle = arguments.number<std::size_t>("--idle", 9000, 1, most);
  const double seconds = std::atof(arguments.text("--seconds", "1").c_str());
  const int pid = arguments.number("--pid", 0, 1, 0x7fffffff);
  const std::string syscalls = arguments.text("--syscalls", "");
  arguments.done();

  Meter meter(seconds, pid, syscalls);
  if (workload == "ping-pong") {
    ping_pong(port, connections, size, meter);
  } else if (workload == "stream") {
    stream(port, connections, meter);
  } else if (workload == "churn") {
    churn(port, connections, size, meter);
  } else if (workload == "lines") {
    lines(port, connections, meter);
  } else if (workload == "idle") {
    ping_pong_beside(port, idle, connections, size, pid, meter);
  } else {
    throw std::invalid_argument(fmt::format("no workload is called {}", workload));
  }
  meter.print();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2 || argv[1] == std::string_view("--help")) {
      fmt::print("{}", help);
      return argc < 2 ? 2 : 0;
    }
    run(argv[1], Arguments(argc - 1, argv + 1));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "echo_load: {}\n", error.what());
    return 1;
  }
}
