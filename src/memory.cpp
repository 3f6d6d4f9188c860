// SPDX-License-Identifier: Apache-2.0
#include "tornado/detail/memory.hpp"

#include "loop_core.hpp"

#include <algorithm>
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
      list.limit = 0;
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
  std::uint32_t size = 0;
  for (FreeList& list : thread.free) {
    size += PerThread::granule;
    list.limit = static_cast<std::uint32_t>(kept_bytes) / size;
  }
}

}  // namespace

constinit thread_local PerThread per_thread_data;
#if defined(_WIN32) && !defined(TORNADO_STATIC)
PerThread& per_thread() noexcept { return per_thread_data; }
#endif

void* allocate_new(std::size_t bytes) {
  constexpr std::size_t granule = PerThread::granule;
  return ::operator new((bytes + granule - 1) / granule * granule);
}

void deallocate_more(void* memory, std::size_t bytes) noexcept {
  if (TORNADO_RECYCLES && !per_thread().sweeps) {
    begin_to_keep();
    deallocate(memory, bytes);
  } else {
    ::operator delete(memory);
  }
}

std::uint64_t advance_frame_number(std::uint64_t least) noexcept {
  PerThread& thread = per_thread();
  return thread.frames = std::max(thread.frames, least);
}

}  // namespace tornado::detail
