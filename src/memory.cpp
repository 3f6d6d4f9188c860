// SPDX-License-Identifier: Apache-2.0
#include "tornado/detail/memory.hpp"

#include "loop_core.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define TORNADO_RECYCLES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TORNADO_RECYCLES 0
#endif
#endif
#ifndef TORNADO_RECYCLES
#define TORNADO_RECYCLES 1  // under AddressSanitizer it would hide dangling frames
#endif

namespace tornado::detail {
namespace {

constexpr std::size_t kept_bytes = std::size_t{256} * 1024;  // per size

struct Sweeper {
  ~Sweeper() {
    for (FreeList& list : per_thread().free) {
      list.room = std::numeric_limits<std::int32_t>::min() / 2;
      while (list.first != nullptr) {
        ::operator delete(std::exchange(list.first, list.first->next));
      }
    }
  }
};

void begin_to_keep() noexcept {
  thread_local Sweeper sweeper;
  static_cast<void>(sweeper);
  PerThread& thread = per_thread();
  thread.sweeps = true;
  for (std::uint32_t i = 1; i < std::size(thread.free); ++i) {
    thread.free[i].room = static_cast<std::int32_t>(kept_bytes / (i * PerThread::granule));
  }
}

}  // namespace

constinit thread_local PerThread per_thread_data;
#if defined(_WIN32) && !defined(TORNADO_STATIC)
PerThread& per_thread() noexcept { return per_thread_data; }
#endif

void* allocate_new(std::size_t bytes) {
  return ::operator new(PerThread::granules_for(bytes) * PerThread::granule - PerThread::word);
}

void deallocate_more(void* memory, std::uint32_t list) noexcept {
  if (TORNADO_RECYCLES && !per_thread().sweeps && list != 0) {
    begin_to_keep();
    deallocate_to(memory, list);
  } else {
    ++per_thread().free[list].room;
    ::operator delete(memory);
  }
}

void free_block(Block* block, std::uint32_t list) noexcept {
  if (was_not_claimed(block)) per_thread().handed_over = block->outer;
  deallocate_to(block, list);
}

std::uint64_t advance_frame_number(std::uint64_t least) noexcept {
  PerThread& thread = per_thread();
  return thread.suspensions = std::max(thread.suspensions, least);
}

}  // namespace tornado::detail
