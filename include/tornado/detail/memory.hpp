// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/memory.hpp: memory for frames, states and callbacks, kept per thread and used
// again. The common case is inline: it is on the way of every call of a coroutine.
#pragma once

#include "tornado/detail/export.hpp"

#include <cstddef>
#include <cstdint>
#include <new>

namespace tornado::detail {

struct Block;
class Context;

struct FreeMemory {
  FreeMemory* next;
};

/// Freed pieces of one size.
struct FreeList {
  FreeMemory* first = nullptr;
  std::int32_t room = 0;  // for so many more; 0 also until the thread has begun to keep any
};

/// What each thread has of its own. Trivially destructible, so that it can be used until the very
/// end of the thread.
struct PerThread {
  // Of what a piece takes in all: most implementations of malloc put a word in front of it.
  static constexpr std::size_t granule = 32;
  static constexpr std::size_t word = sizeof(void*);
  static constexpr std::size_t largest = 4096 - word;
  static constexpr std::size_t granules_for(std::size_t bytes) noexcept {
    return (bytes + word + granule - 1) / granule;
  }
  /// Which list has pieces of so many bytes. The first, that of larger ones, stays empty.
  static constexpr std::uint32_t list_of(std::size_t bytes) noexcept {
    return bytes <= largest ? static_cast<std::uint32_t>(granules_for(bytes)) : 0;
  }

  FreeList free[1 + (largest + word) / granule] = {};
  Block* handed_over = nullptr;   // see new_block
  std::uint64_t suspensions = 0;  // of coroutines, counting each once
  Context* context = nullptr;     // what ContextVars have been set to; holds it
  bool context_noted = false;     // by address, since it became current
  bool sweeps = false;            // the lists are freed when the thread ends
};

#if defined(_WIN32) && !defined(TORNADO_STATIC)
TORNADO_EXPORT PerThread& per_thread() noexcept;  // a DLL exports no thread_local
#else
TORNADO_EXPORT extern constinit thread_local PerThread per_thread_data;
inline PerThread& per_thread() noexcept { return per_thread_data; }
#endif

TORNADO_EXPORT void* allocate_new(std::size_t bytes);
TORNADO_EXPORT void deallocate_more(void* memory, std::uint32_t list) noexcept;

inline void* allocate(std::size_t bytes) {
  FreeList& list = per_thread().free[PerThread::list_of(bytes)];
  FreeMemory* memory = list.first;
  if (memory == nullptr) return allocate_new(bytes);
  list.first = memory->next;
  ++list.room;
  return memory;
}

inline void deallocate_to(void* memory, std::uint32_t place) noexcept {
  FreeList& list = per_thread().free[place];
  if (--list.room < 0) {
    deallocate_more(memory, place);
    return;
  }
  list.first = ::new (memory) FreeMemory{list.first};
}

inline void deallocate(void* memory, std::size_t bytes) noexcept {
  deallocate_to(memory, PerThread::list_of(bytes));
}

/// What stands at the begin of a coroutine's memory until its promise is constructed. Then its
/// Future's state takes this place, and behind it lies the frame; the memory is given back with the
/// state, to which frame and Futures hold references.
struct Block {
  Block* outer;        // the hand-over that was pending when this one began
  std::uint32_t list;  // where the memory goes back to
};

/// Allocates a block and hands it over to the promise that is constructed next in it.
inline Block* new_block(std::size_t bytes) {
  void* memory = allocate(bytes);
  PerThread& thread = per_thread();
  auto* block = ::new (memory) Block{thread.handed_over, PerThread::list_of(bytes)};
  thread.handed_over = block;
  return block;
}

/// Takes the block that was handed over, if `promise` lies in it; else null.
///
/// By address, since clang may put a frame on its caller's stack without asking operator new: the
/// promise there must not take what was meant for another. A promise lies at the begin of its
/// frame, `offset` bytes into the block, and is larger than the distance allowed for here.
inline Block* claim_block(const void* promise, std::size_t offset) noexcept {
  PerThread& thread = per_thread();
  Block* block = thread.handed_over;
  if (block == nullptr ||
      reinterpret_cast<std::uintptr_t>(promise) - reinterpret_cast<std::uintptr_t>(block) >=
          offset + 64) {
    return nullptr;
  }
  thread.handed_over = block->outer;
  return block;
}

/// Whether no promise has claimed `block`: a parameter's copy threw before there was one.
inline bool was_not_claimed(const Block* block) noexcept {
  return per_thread().handed_over == block;
}
/// Frees a block without a state, and withdraws it if it was not claimed.
TORNADO_EXPORT void free_block(Block* block, std::uint32_t list) noexcept;

}  // namespace tornado::detail
