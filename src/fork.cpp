// SPDX-License-Identifier: Apache-2.0
#include "fork.hpp"

#include "signals.hpp"

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include <pthread.h>

namespace tornado::detail {
namespace {

constinit std::atomic<unsigned> generation{0};

// Before main, so that no fork is missed. Of raw clone() calls nothing is learnt here.
[[maybe_unused]] const int registered = ::pthread_atfork(&lock_signals, &unlock_signals, [] {
  generation.fetch_add(1, std::memory_order_relaxed);
  restore_signals_in_child();
  unlock_signals();
});

}  // namespace

void keep_for_ever(std::shared_ptr<void> object) {
  static auto* const kept = new std::vector<std::shared_ptr<void>>;
  kept->push_back(std::move(object));
}

unsigned fork_generation() noexcept { return generation.load(std::memory_order_relaxed); }

}  // namespace tornado::detail
