// SPDX-License-Identifier: Apache-2.0
//
// Memory that is used again, per thread; and the blocks in which a coroutine's frame lies beside
// its Future's state.
#include "loop_core.hpp"
#include "tornado/detail/state.hpp"

#include <algorithm>
#include <cstdint>
#include <new>

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

constexpr std::size_t granule = 64;
constexpr std::size_t largest = 4096;
constexpr std::size_t kept_bytes = 256 * 1024;  // per size

struct FreeBlock {
  FreeBlock* next;
};
struct FreeList {
  FreeBlock* first = nullptr;
  std::uint32_t count = 0;
};

// Trivially destructible, so that it can be used until the very end of the thread; what the lists
// hold is freed by Sweeper.
struct PerThread {
  FreeList free[largest / granule] = {};
  Block* handed_over = nullptr;
  std::uint64_t frames = 0;
  enum : std::uint8_t { fresh, in_use, swept } stage = fresh;
};
constinit thread_local PerThread local;

struct Sweeper {
  ~Sweeper() {
    local.stage = PerThread::swept;
    for (FreeList& list : local.free) {
      while (list.first != nullptr) {
        ::operator delete(std::exchange(list.first, list.first->next));
      }
    }
  }
};

// Whether freed memory may be kept: not while the thread ends.
bool may_keep() noexcept {
  if (local.stage == PerThread::fresh) {
    thread_local Sweeper sweeper;
    static_cast<void>(sweeper);
    local.stage = PerThread::in_use;
  }
  return local.stage == PerThread::in_use;
}

constexpr std::size_t index_of(std::size_t bytes) { return (bytes - 1) / granule; }

}  // namespace

void* allocate(std::size_t bytes) {
  if (TORNADO_RECYCLES && bytes <= largest) {
    FreeList& list = local.free[index_of(bytes)];
    if (FreeBlock* block = list.first) {
      list.first = block->next;
      --list.count;
      return block;
    }
    return ::operator new((index_of(bytes) + 1) * granule);
  }
  return ::operator new(bytes);
}

void deallocate(void* memory, std::size_t bytes) noexcept {
  if (TORNADO_RECYCLES && bytes <= largest) {
    FreeList& list = local.free[index_of(bytes)];
    if (list.count * bytes < kept_bytes && may_keep()) {
      list.first = ::new (memory) FreeBlock{list.first};
      ++list.count;
      return;
    }
  }
  ::operator delete(memory);
}

Block* new_block(std::size_t bytes) {
  auto* block = ::new (allocate(bytes)) Block{1, static_cast<std::uint32_t>(bytes), local.handed_over};
  local.handed_over = block;
  return block;
}

// By address, since clang may put a frame on its caller's stack without asking operator new: the
// promise there must not take what was meant for another.
Claim claim_block(const void* promise) noexcept {
  Block* block = local.handed_over;
  const std::uint64_t number = ++local.frames;
  if (block == nullptr) return {nullptr, number};
  const auto begin = reinterpret_cast<std::uintptr_t>(block);
  const auto address = reinterpret_cast<std::uintptr_t>(promise);
  if (address < begin || address >= begin + block->bytes) return {nullptr, number};
  local.handed_over = block->outer;
  if (block->bytes > largest) return {nullptr, number};  // a result should not keep a large frame
  ++block->holds;
  return {block, number};
}

std::uint64_t advance_frame_number(std::uint64_t least) noexcept {
  return local.frames = std::max(local.frames, least);
}

void drop_frame(Block* block) noexcept {
  // A parameter's copy threw before there was a promise.
  if (local.handed_over == block) local.handed_over = block->outer;
  drop_hold(block);
}

void drop_hold(Block* block) noexcept {
  if (--block->holds == 0) deallocate(block, block->bytes);
}

}  // namespace tornado::detail
