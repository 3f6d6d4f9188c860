// SPDX-License-Identifier: Apache-2.0
//
// What count_syscalls.cpp writes into its file, again and again, and the load generator reads.
#pragma once

#include <cstdint>

struct SyscallCount {
  char name[24];
  std::uint64_t count;
};
