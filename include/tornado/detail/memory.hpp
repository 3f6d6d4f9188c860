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
  std::uint32_t count = 0;
  std::uint32_t limit = 0;  // 0: none is kept, or the thread has not begun to
};

/// What each thread has of its own. Trivially destructible, so that it can be used until the very
/// end of the thread.
struct PerThread {
  static constexpr std::size_t granule = 64;
  static constexpr std::size_t largest = 4096;

  FreeList free[largest / granule] = {};
  Block* handed_over = nullptr;  // see new_block
  std::uint64_t frames = 0;      // made so far
  Context* context = nullptr;    // what ContextVars have been set to; holds it
  bool sweeps = false;           // the lists are freed when the thread ends
};

#if defined(_WIN32) && !defined(TORNADO_STATIC)
TORNADO_EXPORT PerThread& per_thread() noexcept;  // a DLL exports no thread_local
#else
TORNADO_EXPORT extern constinit thread_local PerThread per_thread_data;
inline PerThread& per_thread() noexcept { return per_thread_data; }
#endif

TORNADO_EXPORT void* allocate_new(std::size_t bytes);
TORNADO_EXPORT void deallocate_more(void* memory, std::size_t bytes) noexcept;

inline void* allocate(std::size_t bytes) {
  if (bytes <= PerThread::largest) {
    FreeList& list = per_thread().free[(bytes - 1) / PerThread::granule];
    if (FreeMemory* memory = list.first) {
      list.first = memory->next;
      --list.count;
      return memory;
    }
  }
  return allocate_new(bytes);
}

inline void deallocate(void* memory, std::size_t bytes) noexcept {
  if (bytes <= PerThread::largest) {
    FreeList& list = per_thread().free[(bytes - 1) / PerThread::granule];
    if (list.count < list.limit) {
      list.first = ::new (memory) FreeMemory{list.first};
      ++list.count;
      return;
    }
  }
  deallocate_more(memory, bytes);
}

/// The memory of one coroutine: this header, its Future's state, its frame. Each of the two parts
/// holds the block for as long as it lives.
struct Block {
  std::uint32_t holds;
  std::uint32_t bytes;
  Block* outer;  // the hand-over that was pending when this one began
};

/// Allocates a block and hands it over to the promise that is constructed next in it.
inline Block* new_block(std::size_t bytes) {
  void* memory = allocate(bytes);
  PerThread& thread = per_thread();
  auto* block = ::new (memory) Block{1, static_cast<std::uint32_t>(bytes), thread.handed_over};
  thread.handed_over = block;
  return block;
}

/// The block handed over, if `promise` lies in it and the result is to live there too; else null.
///
/// By address, since clang may put a frame on its caller's stack without asking operator new: the
/// promise there must not take what was meant for another.
inline Block* claim_block(const void* promise) noexcept {
  PerThread& thread = per_thread();
  Block* block = thread.handed_over;
  if (block == nullptr ||
      reinterpret_cast<std::uintptr_t>(promise) - reinterpret_cast<std::uintptr_t>(block) >=
          block->bytes) {
    return nullptr;
  }
  thread.handed_over = block->outer;
  if (block->bytes > PerThread::largest) return nullptr;  // a result should not keep a large frame
  ++block->holds;
  return block;
}

inline void drop_hold(Block* block) noexcept {
  if (--block->holds == 0) deallocate(block, block->bytes);
}

/// The frame is gone, or never came to be, because a parameter's copy threw before there was a
/// promise: then the hand-over is withdrawn.
inline void drop_frame(Block* block) noexcept {
  PerThread& thread = per_thread();
  if (thread.handed_over == block) thread.handed_over = block->outer;
  drop_hold(block);
}

}  // namespace tornado::detail
