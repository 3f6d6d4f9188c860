// SPDX-License-Identifier: Apache-2.0
#include "tornado/contextvars.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>

namespace tornado::detail {
namespace {

std::atomic<std::uint64_t> variables_made{0};

/// Lets go of what a thread's own code, outside all callbacks, has set.
struct ThreadEnd {
  ~ThreadEnd() { Context::release(std::exchange(per_thread().context, nullptr)); }
};

}  // namespace

Context* Context::share(Context* context) noexcept {
  if (context != nullptr) context->refs_.fetch_add(1, std::memory_order_relaxed);
  return context;
}

void Context::release(Context* context) noexcept {
  while (context != nullptr && context->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    Context* next = context->before;
    delete context;
    context = next;
  }
}

Context* Context::make_current(Context* context) noexcept {
  PerThread& thread = per_thread();
  thread.context_noted = true;  // perhaps, when it was current before
  return std::exchange(thread.context, context);
}

void Context::forget_before(Context* context) noexcept {
  if (context != nullptr) release(std::exchange(context->before, nullptr));
}

ContextVarBase::ContextVarBase(std::string name) : name_(std::move(name)), id_(++variables_made) {}
ContextVarBase::~ContextVarBase() = default;

const std::shared_ptr<const void>* ContextVarBase::find() const noexcept {
  const Context* context = per_thread().context;
  if (context == nullptr) return nullptr;
  for (const Context::Entry& entry : context->entries) {
    if (entry.variable == id_) return &entry.value;
  }
  return nullptr;
}

std::shared_ptr<const void> ContextVarBase::exchange(std::shared_ptr<const void> value) const {
  thread_local ThreadEnd at_thread_end;
  static_cast<void>(at_thread_end);
  PerThread& thread = per_thread();
  Context* current = thread.context;
  std::vector<Context::Entry> entries;
  if (current != nullptr) entries = current->entries;
  std::shared_ptr<const void> old;
  const auto own = std::find_if(entries.begin(), entries.end(),
                                [this](const auto& entry) { return entry.variable == id_; });
  if (own == entries.end()) {
    if (value) entries.push_back({id_, std::move(value)});
  } else {
    old = std::move(own->value);
    if (value) {
      own->value = std::move(value);
    } else {
      entries.erase(own);
    }
  }
  auto* changed = new Context(std::move(entries), nullptr);
  thread.context = changed;
  if (thread.context_noted || current == nullptr) {
    changed->before = current;
  } else {
    changed->before = std::exchange(current->before, nullptr);
    Context::release(current);
  }
  thread.context_noted = false;
  return old;
}

void ContextVarBase::require_own(const ContextVarBase* setter) const {
  if (setter != this) {
    throw std::invalid_argument(fmt::format(
        "ContextVar::reset: the token is that of '{}', not of '{}'", setter->name(), name_));
  }
}

void ContextVarBase::throw_unset() const {
  throw std::out_of_range(
      fmt::format("ContextVar::get: '{}' was not set here, and has no initial value", name_));
}

}  // namespace tornado::detail
