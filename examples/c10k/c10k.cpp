// SPDX-License-Identifier: Apache-2.0
//
// The C10K demonstration: 10,000 connections to an echo server at the same time, each of them
// exchanging lines, and every byte compared. `c10k --help` says what can be varied.
#include "client.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "results.hpp"
#include "server_process.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include <sys/resource.h>

using namespace std::chrono_literals;
using namespace tornado;

namespace c10k {
namespace {

// How long the connections are left alone before the server's memory is looked at.
constexpr std::chrono::steady_clock::duration idle_time = 1s;

// Each connection is a descriptor here and one in the server, which inherits the limit. Both need
// some more, for the loop, the standard streams and the listening socket.
void adapt_to_descriptor_limit(Options& options) {
  constexpr std::size_t others = 32;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= options.connections + others) return;
  if (limit.rlim_cur <= others) {
    throw std::runtime_error(
        fmt::format("the limit of open files, {}, is too low", limit.rlim_cur));
  }
  const std::size_t possible = limit.rlim_cur - others;
  fmt::print(stderr,
             "Only {} connections instead of {}: the limit of open files is {} (`ulimit -Hn`).\n",
             grouped(possible), grouped(options.connections), grouped(limit.rlim_cur));
  options.connections = possible;
}

Future<Results> demonstrate(Options options) {
  Results results;
  ServerProcess server(options.server);
  const Address address = co_await server.address();
  results.memory_before = server.resident_memory();

  Client client(options, address, results);
  Progress progress;
  const auto tried = [&] { return results.opened + results.failed; };
  const auto share = [&] {
    return static_cast<double>(tried()) / static_cast<double>(options.connections);
  };
  const auto count = [&] {
    return fmt::format("{} of {} connections", grouped(tried()), grouped(options.connections));
  };
  progress.begin("Connecting", share, count, idle_time + options.duration);
  co_await client.open_all();

  if (results.opened > 0) {
    const auto held = [&] { return fmt::format("{} connections", grouped(results.held())); };
    progress.begin("Idle", idle_time, held, options.duration);
    co_await gen::sleep(idle_time);
    results.memory_idle = server.resident_memory();

    const auto lines = [&] { return fmt::format("{} messages", grouped(results.messages)); };
    progress.begin("Exchanging", options.duration, lines, 0s);
    co_await client.exchange_all();
  }
  results.server_ended = !server.running();
  co_return results;
}

// ---- Ctrl-C cancels the demonstration, whatever it waits for; the objects above clean up.

IOLoop* main_loop = nullptr;
Future<Results>* demonstration = nullptr;

extern "C" void interrupt(int) {
  main_loop->add_callback_from_signal([](void*) { demonstration->cancel(); });
}

int run(int argc, char** argv) {
  Options options = parse_options(argc, argv);
  if (options.help) {
    fmt::print("{}", help_text());
    return 0;
  }
  adapt_to_descriptor_limit(options);

  main_loop = &IOLoop::current();
  std::signal(SIGINT, interrupt);
  std::signal(SIGTERM, interrupt);
  Future<Results> future = demonstrate(options);
  demonstration = &future;
  const Results results = main_loop->run_sync([&] { return future; });
  fmt::print("{}", table(results));
  return results.success() ? 0 : 1;
}

}  // namespace
}  // namespace c10k

int main(int argc, char** argv) {
  try {
    return c10k::run(argc, argv);
  } catch (const CancelledError&) {
    fmt::print(stderr, "Interrupted; the server has been stopped.\n");
    return 130;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "c10k: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "c10k: {}\n", error.what());
    return 1;
  }
}
