// SPDX-License-Identifier: Apache-2.0
#include "signal_ring.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

namespace tornado::detail {

SignalRing::SignalRing() {
  for (std::uint32_t i = 0; i < size; ++i) slots_[i].turn.store(i, std::memory_order_relaxed);
#ifdef __linux__
  read_end_ = write_end_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (read_end_ < 0) throw std::system_error(errno, std::system_category(), "eventfd");
#else
  int ends[2];
  if (::pipe(ends) != 0) throw std::system_error(errno, std::system_category(), "pipe");
  read_end_ = ends[0];
  write_end_ = ends[1];
  for (const int end : ends) {
    ::fcntl(end, F_SETFD, FD_CLOEXEC);
    ::fcntl(end, F_SETFL, O_NONBLOCK);
  }
#endif
}

SignalRing::~SignalRing() {
  ::close(read_end_);
  if (write_end_ != read_end_) ::close(write_end_);
}

// A bounded queue of Dmitry Vyukov's kind: a slot whose turn is n may be written by the n-th push,
// and read when its turn is n + 1.
bool SignalRing::push(Callback callback, void* argument) noexcept {
  std::uint32_t place = pushed_.load(std::memory_order_relaxed);
  Slot* slot;
  for (;;) {
    if (!open_.load(std::memory_order_relaxed)) return false;
    slot = &slots_[place % size];
    const auto ahead =
        static_cast<std::int32_t>(slot->turn.load(std::memory_order_acquire) - place);
    if (ahead < 0) return false;
    if (ahead > 0) {
      place = pushed_.load(std::memory_order_relaxed);
    } else if (pushed_.compare_exchange_weak(place, place + 1, std::memory_order_relaxed)) {
      break;
    }
  }
  slot->callback = callback;
  slot->argument = argument;
  slot->turn.store(place + 1, std::memory_order_release);
  wake();
  return true;
}

void SignalRing::wake() noexcept {
  const int saved_errno = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written =
      ::write(write_end_, &one, write_end_ == read_end_ ? sizeof one : 1);
  errno = saved_errno;
}

bool SignalRing::pop(Callback& callback, void*& argument) noexcept {
  Slot& slot = slots_[popped_ % size];
  if (slot.turn.load(std::memory_order_acquire) != popped_ + 1) return false;
  callback = slot.callback;
  argument = slot.argument;
  slot.turn.store(popped_ + static_cast<std::uint32_t>(size), std::memory_order_release);
  ++popped_;
  return true;
}

}  // namespace tornado::detail
