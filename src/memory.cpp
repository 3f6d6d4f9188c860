// SPDX-License-Identifier: Apache-2.0
//
// Memory that is used again, per thread; and the blocks in which a coroutine's frame lies beside
// its Future's state.
#include "tornado/detail/state.hpp"

#include <array>
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

// Trivially destructible, so that it can be used until the very end of the thread; what it holds
// is freed by Sweeper.
struct Pool {
  std::array<FreeBlock*, largest / granule> free{};
  std::array<std::uint32_t, largest / granule> count{};
  bool swept = false;
};
constinit thread_local Pool pool;

struct Sweeper {
  ~Sweeper() {
    pool.swept = true;
    for (FreeBlock*& list : pool.free) {
      while (list != nullptr) ::operator delete(std::exchange(list, list->next));
    }
  }
};

constinit thread_local Block* handed_over = nullptr;

constexpr std::size_t rounded(std::size_t bytes) {
  return (bytes + granule - 1) / granule * granule;
}

}  // namespace

void* allocate(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  if (TORNADO_RECYCLES && size <= largest) {
    const std::size_t index = size / granule - 1;
    if (FreeBlock* block = pool.free[index]) {
      pool.free[index] = block->next;
      --pool.count[index];
      return block;
    }
  }
  return ::operator new(size);
}

void deallocate(void* memory, std::size_t bytes) noexcept {
  const std::size_t size = rounded(bytes);
  if (TORNADO_RECYCLES && size <= largest) {
    const std::size_t index = size / granule - 1;
    if (pool.count[index] < kept_bytes / size && !pool.swept) {
      thread_local Sweeper sweeper;
      static_cast<void>(sweeper);
      pool.free[index] = ::new (memory) FreeBlock{pool.free[index]};
      ++pool.count[index];
      return;
    }
  }
  ::operator delete(memory);
}

Block* new_block(std::size_t bytes) {
  auto* block = ::new (allocate(bytes)) Block{1, static_cast<std::uint32_t>(bytes), handed_over};
  handed_over = block;
  return block;
}

// By address, since clang may put a frame on its caller's stack without asking operator new: the
// promise there must not take what was meant for another.
Block* claim_block(const void* promise) noexcept {
  Block* block = handed_over;
  if (block == nullptr) return nullptr;
  const auto begin = reinterpret_cast<std::uintptr_t>(block);
  const auto address = reinterpret_cast<std::uintptr_t>(promise);
  if (address < begin || address >= begin + block->bytes) return nullptr;
  handed_over = block->outer;
  if (block->bytes > largest) return nullptr;  // a result should not keep a large frame
  ++block->holds;
  return block;
}

void drop_frame(Block* block) noexcept {
  // A parameter's copy threw before there was a promise.
  if (handed_over == block) handed_over = block->outer;
  drop_hold(block);
}

void drop_hold(Block* block) noexcept {
  if (--block->holds == 0) deallocate(block, block->bytes);
}

}  // namespace tornado::detail
