// SPDX-License-Identifier: Apache-2.0
#include "signals.hpp"

#include "loop_core.hpp"
#include "signal_ring.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace tornado::detail {
namespace {

#ifdef NSIG
constexpr int signal_count = NSIG;
#else
constexpr int signal_count = 65;
#endif

/// What the process does with one signal.
struct Slot {
  std::atomic<SignalRing*> ring{nullptr};  // of the loop that handles it
  std::atomic<bool> pending{false};
  std::atomic<int> inside{0};  // system handlers that use `ring` now, on whatever thread
  // Guarded by the mutex:
  const SignalHandlers* owner = nullptr;
  struct sigaction before {};
};
static_assert(std::atomic<SignalRing*>::is_always_lock_free);

constinit std::array<Slot, signal_count> slots;
constinit std::mutex mutex;

Slot& slot_of(int signo) noexcept { return slots[static_cast<std::size_t>(signo)]; }

extern "C" void tornado_on_signal(int signo) {
  Slot& slot = slot_of(signo);
  slot.inside.fetch_add(1);
  if (SignalRing* ring = slot.ring.load()) {
    if (!slot.pending.exchange(true)) ring->wake();
  }
  slot.inside.fetch_sub(1);
}

/// The application's handler comes back, unless it has set another one itself.
void restore(int signo) noexcept {
  struct sigaction now {};
  if (::sigaction(signo, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
      now.sa_handler == &tornado_on_signal) {
    ::sigaction(signo, &slot_of(signo).before, nullptr);
  }
}

}  // namespace

SignalHandlers::~SignalHandlers() {
  while (!handlers_.empty()) remove(handlers_.begin()->first);
}

void SignalHandlers::add(int signo, MakeJob make_job) {
  if (signo < 1 || signo >= signal_count) {
    throw std::invalid_argument(fmt::format("add_signal_handler: there is no signal {}", signo));
  }
  auto handler = std::make_shared<Handler>(std::move(make_job));
  const std::lock_guard lock(mutex);
  Slot& slot = slot_of(signo);
  if (slot.owner == this) {
    handlers_[signo].swap(handler);
    return;
  }
  if (slot.owner != nullptr) {
    throw std::logic_error(
        fmt::format("add_signal_handler: another loop of this process handles signal {}", signo));
  }
  const auto place = handlers_.emplace(signo, std::move(handler)).first;
  slot.pending = false;
  slot.ring = &ring_;
  struct sigaction ours {};
  ours.sa_handler = &tornado_on_signal;
  ours.sa_flags = SA_RESTART | SA_ONSTACK;
  ::sigemptyset(&ours.sa_mask);
  if (::sigaction(signo, &ours, &slot.before) != 0) {
    const int error = errno;
    slot.ring = nullptr;
    handlers_.erase(place);
    throw std::system_error(error, std::system_category(),
                            fmt::format("add_signal_handler: signal {}", signo));
  }
  slot.owner = this;
}

bool SignalHandlers::remove(int signo) noexcept {
  const auto found = handlers_.find(signo);
  if (found == handlers_.end()) return false;
  // Outlives the lock: what it captured may use the loop as it goes.
  const auto handler = std::move(found->second);
  handlers_.erase(found);
  const std::lock_guard lock(mutex);
  Slot& slot = slot_of(signo);
  if (slot.owner != this) return true;  // in a forked child
  restore(signo);
  slot.owner = nullptr;
  slot.ring = nullptr;
  // The ring may go after this; a handler that found it is not one of this thread.
  while (slot.inside != 0) std::this_thread::yield();
  return true;
}

void SignalHandlers::dispatch() noexcept {
  std::vector<int> came;
  for (const auto& [signo, handler] : handlers_) {
    if (slot_of(signo).pending.exchange(false)) came.push_back(signo);
  }
  for (const int signo : came) {
    const auto found = handlers_.find(signo);
    if (found == handlers_.end()) continue;  // removed by one of the others
    const auto handler = found->second;
    const ContextScope scope(handler->context);
    handler->make_job(signo)->handle(Node::Event::run);
  }
}

void lock_signals() noexcept { mutex.lock(); }
void unlock_signals() noexcept { mutex.unlock(); }

void restore_signals_in_child() noexcept {
  for (int signo = 1; signo < signal_count; ++signo) {
    Slot& slot = slot_of(signo);
    if (slot.owner == nullptr) continue;
    restore(signo);
    slot.owner = nullptr;
    slot.ring = nullptr;
    slot.inside = 0;  // of threads that are not here
  }
}

SignalHandlers& LoopCore::signal_handlers() {
  if (closed_) throw std::logic_error("IOLoop::add_signal_handler: the loop has been closed");
  require_own_process("IOLoop::add_signal_handler");
  if (!signal_handlers_) signal_handlers_ = std::make_unique<SignalHandlers>(signals_);
  return *signal_handlers_;
}

}  // namespace tornado::detail

namespace tornado {

void IOLoop::set_signal_handler(int signo, SignalJob make_job) {
  core_->signal_handlers().add(signo, std::move(make_job));
}

bool IOLoop::remove_signal_handler(int signo) noexcept {
  detail::SignalHandlers* handlers = core_->signal_handlers_or_null();
  return handlers != nullptr && handlers->remove(signo);
}

}  // namespace tornado
