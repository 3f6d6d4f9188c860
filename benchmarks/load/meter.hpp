// SPDX-License-Identifier: Apache-2.0
//
// What a workload did in its time, and what that cost the server.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

/// CPU time of all threads of a process up to now, in seconds.
struct CpuTime {
  double total = 0;  // exact
  // As the kernel divides it, by what it found running at each tick: exact only over many seconds.
  double user = 0;
  double system = 0;

  static CpuTime of(int pid);
};

/// Proportional set size: what a process takes of the machine's memory, in bytes.
std::uint64_t memory_of(int pid);

/// How often each was called, as benchmarks/count_syscalls.cpp has noted in `file`.
std::map<std::string, std::uint64_t> syscalls_in(const std::string& file);

/// Counts operations during `seconds`, which begin when a tenth of that has passed since the first
/// call of running().
class Meter {
 public:
  /// \param pid       the server; 0: some other machine's.
  /// \param syscalls  the file that it notes its system calls in; empty: none.
  Meter(double seconds, int pid, std::string syscalls);

  void count(std::uint64_t operations = 1) noexcept { operations_ += operations; }
  /// False when the time is over. Call it often.
  bool running();

  /// Prints a `name value` per line.
  void print() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct State {
    Clock::time_point time;
    std::uint64_t operations = 0;
    CpuTime server;
    CpuTime client;
    std::map<std::string, std::uint64_t> syscalls;
  };
  State now() const;

  const double seconds_;
  const int pid_;
  const std::string syscalls_;
  enum class Stage { connecting, warming_up, measuring } stage_ = Stage::connecting;
  Clock::time_point next_;  // when this stage ends
  std::uint64_t operations_ = 0;
  State begin_;
  State end_;
};
