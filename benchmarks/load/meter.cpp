// SPDX-License-Identifier: Apache-2.0
#include "meter.hpp"

#include "../syscall_count.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

#include <unistd.h>

CpuTime CpuTime::of(int pid) {
  const std::string folder = fmt::format("/proc/{}", pid);
  CpuTime result;
  for (const auto& thread : std::filesystem::directory_iterator(folder + "/task")) {
    double nanoseconds = 0;
    std::ifstream(thread.path() / "schedstat") >> nanoseconds;
    result.total += nanoseconds / 1e9;
  }
  std::string text;
  std::getline(std::ifstream(folder + "/stat"), text);
  // Behind the name, which may hold anything: fields 3 and on, of which 14 and 15 are ours.
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  for (int field = 3; field < 14; ++field) fields >> text;
  fields >> result.user >> result.system;
  if (!fields) throw std::runtime_error("the server has ended");
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  result.user /= ticks;
  result.system /= ticks;
  return result;
}

std::uint64_t memory_of(int pid) {
  std::ifstream file(fmt::format("/proc/{}/smaps_rollup", pid));
  std::string word;
  std::uint64_t kibibytes = 0;
  while (file >> word) {
    if (word == "Pss:" && file >> kibibytes) return kibibytes * 1024;
  }
  throw std::runtime_error("the server's memory cannot be read");
}

std::map<std::string, std::uint64_t> syscalls_in(const std::string& file) {
  std::map<std::string, std::uint64_t> result;
  std::ifstream input(file, std::ios::binary);
  SyscallCount each{};
  while (input.read(reinterpret_cast<char*>(&each), sizeof each)) {
    if (each.count > 0) result[each.name] = each.count;
  }
  return result;
}

Meter::Meter(double seconds, int pid, std::string syscalls)
    : seconds_(seconds), pid_(pid), syscalls_(std::move(syscalls)) {}

bool Meter::running() {
  const auto time = Clock::now();
  if (time < next_) return true;
  const auto stay = [this](double seconds) {
    next_ = Clock::now() +
            std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  };
  switch (stage_) {
    case Stage::connecting:
      stage_ = Stage::warming_up;
      stay(seconds_ / 10);
      return true;
    case Stage::warming_up:
      stage_ = Stage::measuring;
      begin_ = now();
      stay(seconds_);
      return true;
    default:
      end_ = now();
      return false;
  }
}

Meter::State Meter::now() const {
  State state;
  state.operations = operations_;
  state.client = CpuTime::of(::getpid());
  if (pid_ != 0) state.server = CpuTime::of(pid_);
  if (!syscalls_.empty()) state.syscalls = syscalls_in(syscalls_);
  state.time = Clock::now();
  return state;
}

void Meter::print() const {
  fmt::print("operations {}\n", end_.operations - begin_.operations);
  fmt::print("seconds {:.6f}\n", std::chrono::duration<double>(end_.time - begin_.time).count());
  fmt::print("server_cpu {:.6f}\n", end_.server.total - begin_.server.total);
  fmt::print("server_user {:.2f}\n", end_.server.user - begin_.server.user);
  fmt::print("server_system {:.2f}\n", end_.server.system - begin_.server.system);
  fmt::print("client_cpu {:.6f}\n", end_.client.total - begin_.client.total);
  for (const auto& [name, count] : end_.syscalls) {
    const auto before = begin_.syscalls.find(name);
    fmt::print("syscalls.{} {}\n", name,
               count - (before == begin_.syscalls.end() ? 0 : before->second));
  }
}
