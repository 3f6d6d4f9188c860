// SPDX-License-Identifier: Apache-2.0
//
// The door for signal handlers: a ring of fixed size that takes no lock and no memory, and a
// descriptor that tells the loop. Posting to Asio would take both.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tornado::detail {

class SignalRing {
 public:
  static constexpr std::size_t size = 256;
  using Callback = void (*)(void*);

  /// \throws std::system_error  when the system has no descriptor left.
  SignalRing();
  ~SignalRing();
  SignalRing(const SignalRing&) = delete;
  SignalRing& operator=(const SignalRing&) = delete;

  /// From anywhere, a signal handler included. False when the ring is full or closed.
  bool push(Callback callback, void* argument) noexcept;
  /// Makes the descriptor readable. From anywhere, a signal handler included.
  void wake() noexcept;
  /// Calls what was pushed, in order. One thread.
  template <class F>
  void pop_all(F call) {
    Callback callback;
    void* argument;
    while (pop(callback, argument)) call(callback, argument);
  }
  void close() noexcept { open_.store(false, std::memory_order_relaxed); }
  /// Readable after a push.
  int descriptor() const noexcept { return read_end_; }

 private:
  struct Slot {
    std::atomic<std::uint32_t> turn;
    Callback callback;
    void* argument;
  };

  bool pop(Callback& callback, void*& argument) noexcept;

  std::array<Slot, size> slots_;
  std::atomic<std::uint32_t> pushed_{0};
  std::uint32_t popped_ = 0;
  std::atomic<bool> open_{true};
  int read_end_;
  int write_end_;
};

}  // namespace tornado::detail
