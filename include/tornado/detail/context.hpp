// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/context.hpp: the values of context variables, as coroutines and callbacks carry
// them.
#pragma once

#include "tornado/detail/memory.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace tornado::detail {

/// What has been set, by variable. Shared by all that began where it was current; from other
/// threads too, since callbacks travel.
///
/// A coroutine that has not waited yet notes its caller's context by address only, so that the many
/// which never wait need not count. `before` keeps that one alive: whatever replaces a context that
/// a coroutine has noted holds it, until nobody can have it noted any more.
class TORNADO_EXPORT Context {
 public:
  struct Entry {
    std::uint64_t variable;
    std::shared_ptr<const void> value;
  };

  Context(std::vector<Entry> with, Context* replaced) noexcept
      : entries(std::move(with)), before(replaced) {}

  /// `context` itself, with one reference more. Null stays null, here and below.
  static Context* share(Context* context) noexcept;
  static void release(Context* context) noexcept;
  /// Makes it this thread's; takes over a reference, and gives the caller that to the last one.
  static Context* make_current(Context* context) noexcept;
  /// For one under which nothing runs any more, or that has just been left.
  static void forget_before(Context* context) noexcept;

  const std::vector<Entry> entries;
  Context* before;

 private:
  ~Context() = default;
  std::atomic<int> refs_{1};
};

/// Holds what is current where it is made; null when nothing was ever set, which is the common
/// case.
class ContextRef {
 public:
  ContextRef() noexcept : context_(per_thread().context) {
    if (context_ != nullptr) Context::share(context_);
  }
  ~ContextRef() {
    if (context_ != nullptr) Context::release(context_);
  }
  ContextRef(const ContextRef&) = delete;
  ContextRef& operator=(const ContextRef&) = delete;

 private:
  friend class ContextScope;
  Context* context_;
};

/// Makes a context current for a scope. What is set meanwhile stays in `context`.
class ContextScope {
 public:
  explicit ContextScope(ContextRef& context) noexcept : held_(context.context_) {
    if (held_ != per_thread().context) swap();
  }
  ~ContextScope() {
    if (held_ != per_thread().context) swap();
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  void swap() noexcept {
    held_ = Context::make_current(held_);
    Context::forget_before(held_);
  }

  Context*& held_;
};

}  // namespace tornado::detail
