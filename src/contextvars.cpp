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
  ~ThreadEnd() {
    if (Context* context = std::exchange(per_thread().context, nullptr)) context->release();
  }
};

}  // namespace

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
  Context*& current = per_thread().context;
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
  Context* changed = entries.empty() ? nullptr : new Context(std::move(entries));
  if (Context* before = std::exchange(current, changed)) before->release();
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
