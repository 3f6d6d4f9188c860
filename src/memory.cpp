// SPDX-License-Identifier: Apache-2.0
#include "tornado/detail/memory.hpp"

#include "loop_core.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <type_traits>
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

// A list that is full is put aside, whole. Memory that one thread allocates and another frees, such
// as that of callbacks added from there, would never be used again like this: so a thread that has
// put one aside already gives it to the depot, and one that has none takes it from there. Without,
// malloc and free of each other's memory were two thirds of what such a callback cost.
constexpr std::size_t list_bytes = std::size_t{128} * 1024;
constexpr std::uint32_t sizes = std::extent_v<decltype(PerThread::free)>;

constexpr std::int32_t pieces(std::uint32_t list) noexcept {
  return static_cast<std::int32_t>(list_bytes / (list * PerThread::granule));
}

void free_all(FreeMemory* first) noexcept {
  while (first != nullptr) ::operator delete(std::exchange(first, first->next));
}

/// Full lists that no thread owns, by size. Trivially destructible, since threads may still run
/// when static objects are destroyed.
class Depot {
 public:
  bool put(FreeMemory* full, std::uint32_t list) noexcept {
    if (count_ >= most) return false;
    const std::lock_guard lock(mutex_);
    if (count_ >= most) return false;
    ++count_;
    tops_[list] = ::new (full) Full{full->next, tops_[list]};
    return true;
  }
  FreeMemory* take(std::uint32_t list) noexcept {
    if (tops_[list] == nullptr) return nullptr;  // the usual case
    const std::lock_guard lock(mutex_);
    Full* full = tops_[list];
    if (full == nullptr) return nullptr;
    tops_[list] = full->below;
    --count_;
    return ::new (full) FreeMemory{full->next};
  }
  /// Frees everything, and takes no more.
  void close() noexcept {
    {
      const std::lock_guard lock(mutex_);
      count_ += most;
    }
    for (std::uint32_t list = 0; list < sizes; ++list) {
      while (FreeMemory* full = take(list)) free_all(full);
    }
  }

 private:
  // 1 MiB. With more, pieces that are cold come back where malloc has better ones.
  static constexpr int most = 8;
  struct Full {  // in a list's first piece
    FreeMemory* next;
    Full* below;
  };

  std::mutex mutex_;
  std::atomic<int> count_ = 0;
  std::atomic<Full*> tops_[sizes] = {};
};
static_assert(std::is_trivially_destructible_v<Depot>);
constinit Depot depot;

struct DepotCloser {
  ~DepotCloser() { depot.close(); }
};

/// The full lists that the thread has put aside. Frees these and its others when it ends.
struct Keeper {
  ~Keeper() {
    for (std::uint32_t i = 0; i < sizes; ++i) {
      FreeList& list = per_thread().free[i];
      list.room = std::numeric_limits<std::int32_t>::min() / 2;
      free_all(std::exchange(list.first, nullptr));
      free_all(std::exchange(aside[i], nullptr));
    }
  }

  FreeMemory* aside[sizes] = {};
};

Keeper& keeper() noexcept {
  thread_local Keeper own;
  return own;
}

void begin_to_keep() noexcept {
  static const DepotCloser closer;
  PerThread& thread = per_thread();
  thread.sweeps = true;
  keeper();
  for (std::uint32_t i = 1; i < sizes; ++i) thread.free[i].room = pieces(i);
}

/// For a list that is empty: a full one, or null.
FreeMemory* full_list(std::uint32_t list) noexcept {
  const PerThread& thread = per_thread();
  if (thread.free[list].room < 0) return nullptr;  // the thread ends
  if (thread.sweeps) {
    if (FreeMemory* full = std::exchange(keeper().aside[list], nullptr)) return full;
  }
  FreeMemory* full = depot.take(list);
  if (full != nullptr && !thread.sweeps) begin_to_keep();
  return full;
}

/// Puts a list that is full aside. False when there is no place for it.
bool put_aside(FreeList& full, std::uint32_t list) noexcept {
  FreeMemory*& aside = keeper().aside[list];
  if (aside != nullptr && !depot.put(aside, list)) return false;
  aside = std::exchange(full.first, nullptr);
  full.room = pieces(list);
  return true;
}

}  // namespace

constinit thread_local PerThread per_thread_data;
#if defined(_WIN32) && !defined(TORNADO_STATIC)
PerThread& per_thread() noexcept { return per_thread_data; }
#endif

void* allocate_new(std::size_t bytes) {
  const std::uint32_t list = PerThread::list_of(bytes);
  if (TORNADO_RECYCLES && list != 0) {
    if (FreeMemory* full = full_list(list)) {
      per_thread().free[list] = {.first = full, .room = 0};
      return allocate(bytes);
    }
  }
  return ::operator new(PerThread::granules_for(bytes) * PerThread::granule - PerThread::word);
}

void deallocate_more(void* memory, std::uint32_t list) noexcept {
  PerThread& thread = per_thread();
  FreeList& mine = thread.free[list];
  ++mine.room;
  if (TORNADO_RECYCLES && list != 0) {
    if (!thread.sweeps) begin_to_keep();
    // When the thread ends, there is less room than none.
    if (mine.room > 0 || (mine.room == 0 && put_aside(mine, list))) {
      deallocate_to(memory, list);
      return;
    }
  }
  ::operator delete(memory);
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
