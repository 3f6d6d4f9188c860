// SPDX-License-Identifier: Apache-2.0
#include "server_process.hpp"

#include <tornado/gen.hpp>
#include <tornado/util.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

using namespace std::chrono_literals;
using namespace tornado;

namespace c10k {
namespace {

constexpr auto time_to_start = 30s;
constexpr auto time_to_end = 5s;

// What the child does between fork and exec.
[[noreturn]] void become_server(const std::string& path, int output, pid_t parent) {
  // A group of its own: Ctrl-C reaches this process only through its parent.
  ::setpgid(0, 0);
#ifdef __linux__
  // Even if the parent is killed, no server is left behind.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
  if (::getppid() != parent) ::_exit(1);
  ::dup2(output, STDOUT_FILENO);
  ::execl(path.c_str(), path.c_str(), "--port", "0", nullptr);
  std::fprintf(stderr, "%s: %s\n", path.c_str(), std::strerror(errno));
  ::_exit(127);
}

std::optional<Address> parse_address(std::string_view line) {
  constexpr std::string_view prefix = "Listening on ";
  const std::size_t colon = line.rfind(':');
  if (!line.starts_with(prefix) || colon == std::string_view::npos) return std::nullopt;
  std::uint16_t port = 0;
  std::from_chars(line.data() + colon + 1, line.data() + line.size(), port);
  const auto host = line.substr(prefix.size(), colon - prefix.size());
  if (port == 0 || !netutil::is_valid_ip(host)) return std::nullopt;
  return Address(host, port);
}

}  // namespace

ServerProcess::ServerProcess(std::string path) : path_(std::move(path)) {
  // Not a pipe: of the two, an IOStream takes a socket.
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
    throw std::system_error(errno, std::system_category(), "socketpair");
  }
  output_ = IOStream(Socket(ends[0]));
  const Socket theirs(ends[1]);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::system_error(errno, std::system_category(), "fork");
  if (pid_ == 0) become_server(path_, theirs.native_handle(), parent);
}

ServerProcess::~ServerProcess() {
  if (!running()) return;
  ::kill(pid_, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + time_to_end;
  while (running()) {
    if (std::chrono::steady_clock::now() > deadline) ::kill(pid_, SIGKILL);
    std::this_thread::sleep_for(5ms);
  }
}

Future<Address> ServerProcess::address() {
  std::string line;
  try {
    line = co_await gen::with_timeout(time_to_start, output_.read_until("\n"));
  } catch (const StreamClosedError&) {
    throw std::runtime_error(fmt::format("the server {} ended before it listened", path_));
  } catch (const TimeoutError&) {
    throw std::runtime_error(fmt::format("the server {} did not begin to listen within {} s", path_,
                                         time_to_start.count()));
  }
  line.pop_back();
  const std::optional<Address> address = parse_address(line);
  if (!address) {
    throw std::runtime_error(fmt::format(
        "the server {} printed \"{}\" instead of \"Listening on ADDRESS:PORT\"", path_, line));
  }
  co_return *address;
}

std::optional<std::size_t> ServerProcess::resident_memory() const {
  std::ifstream statm(fmt::format("/proc/{}/statm", pid_));
  std::size_t pages = 0;
  std::size_t resident_pages = 0;
  if (pid_ == 0 || !(statm >> pages >> resident_pages)) return std::nullopt;
  return resident_pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

bool ServerProcess::running() {
  if (pid_ != 0 && ::waitpid(pid_, nullptr, WNOHANG) != 0) pid_ = 0;
  return pid_ != 0;
}

}  // namespace c10k
