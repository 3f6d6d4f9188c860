// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/context.hpp: the values of context variables, as coroutines and callbacks carry
// them.
#pragma once

#include "tornado/detail/memory.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace tornado::detail {

/// What has been set, by variable. Immutable, and shared by all that began where it was current;
/// from other threads too, since callbacks travel.
class Context {
 public:
  struct Entry {
    std::uint64_t variable;
    std::shared_ptr<const void> value;
  };

  explicit Context(std::vector<Entry> with) noexcept : entries(std::move(with)) {}
  void add_ref() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  const std::vector<Entry> entries;

 private:
  ~Context() = default;
  std::atomic<int> refs_{1};
};

/// Holds what is current where it is made; null when nothing was ever set, which is the common
/// case.
class ContextRef {
 public:
  ContextRef() noexcept : context_(per_thread().context) {
    if (context_ != nullptr) context_->add_ref();
  }
  explicit ContextRef(std::nullptr_t) noexcept : context_(nullptr) {}
  ~ContextRef() {
    if (context_ != nullptr) context_->release();
  }
  ContextRef(const ContextRef&) = delete;
  ContextRef& operator=(const ContextRef&) = delete;

  /// Makes it current, and holds what was. Called again it undoes that.
  void swap() noexcept {
    Context*& current = per_thread().context;
    if (current != context_) std::swap(current, context_);
  }

 private:
  Context* context_;
};

/// Makes a context current for a scope. What is set meanwhile stays in `context`.
class ContextScope {
 public:
  explicit ContextScope(ContextRef& context) noexcept : context_(context) { context_.swap(); }
  ~ContextScope() { context_.swap(); }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  ContextRef& context_;
};

}  // namespace tornado::detail
