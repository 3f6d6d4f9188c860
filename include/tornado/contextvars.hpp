// SPDX-License-Identifier: Apache-2.0
//
// tornado/contextvars.hpp: variables that each coroutine has for itself, and for what it calls.
//
// A ContextVar may be read and set from any thread; each thread sees what was set there.
#pragma once

#include "tornado/detail/context.hpp"
#include "tornado/detail/export.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace tornado {

namespace detail {

/// The part of a ContextVar that does not depend on its type.
class TORNADO_EXPORT ContextVarBase {
 public:
  ContextVarBase(const ContextVarBase&) = delete;
  ContextVarBase& operator=(const ContextVarBase&) = delete;

  const std::string& name() const noexcept { return name_; }

 protected:
  explicit ContextVarBase(std::string name);
  ~ContextVarBase();

  /// Null when it was not set here.
  const std::shared_ptr<const void>* find() const noexcept;
  /// Sets `value`, or with null removes what was set. Returns what was there.
  std::shared_ptr<const void> exchange(std::shared_ptr<const void> value) const;
  void require_own(const ContextVarBase* setter) const;
  [[noreturn]] void throw_unset() const;

 private:
  std::string name_;
  std::uint64_t id_;
};

}  // namespace detail

/// A variable whose value belongs to the coroutine that set it. Python: `contextvars.ContextVar`,
/// as Tornado's coroutines use it.
///
///     ContextVar<std::string> request_id("request_id", "-");
///
///     Future<void> handle(std::string id) {
///       request_id.set(id);
///       co_await gen::sleep(1s);              // others set theirs meanwhile
///       log::info("{} done", request_id.get());
///     }
///
/// A coroutine begins with the values of its caller. What it sets is seen after each of its
/// suspensions, by the coroutines that it calls, and by callbacks and timeouts that it adds; not by
/// its caller. A callback has the values of the code that added it; what it sets goes with it.
///
/// Usually global; it must outlive all use of it.
template <class T>
class ContextVar final : public detail::ContextVarBase {
 public:
  static_assert(std::is_object_v<T> && std::is_copy_constructible_v<T>,
                "ContextVar<T> hands out copies of its value: T has to be copyable");

  /// What `set` returns, for `reset`. Copies mean the same.
  class Token {
   public:
    /// The value that `set` replaced, or null if there was none.
    const T* old_value() const noexcept { return static_cast<const T*>(old_.get()); }

   private:
    friend ContextVar;
    Token(const ContextVar& setter, std::shared_ptr<const void> old) noexcept
        : setter_(&setter), old_(std::move(old)) {}
    const ContextVar* setter_;
    std::shared_ptr<const void> old_;
  };

  /// \param name  for messages.
  explicit ContextVar(std::string name) : ContextVarBase(std::move(name)) {}
  /// \param initial  what it has where it was not set.
  ContextVar(std::string name, T initial)
      : ContextVarBase(std::move(name)), initial_(std::make_shared<const T>(std::move(initial))) {}

  /// The value here.
  ///
  /// \throws std::out_of_range  when it was not set, and has no initial value. Python: LookupError.
  T get() const {
    if (const auto* value = find()) return *static_cast<const T*>(value->get());
    if (!initial_) throw_unset();
    return *initial_;
  }
  /// The value here, or `fallback` when it was not set.
  T get(T fallback) const {
    const auto* value = find();
    return value != nullptr ? *static_cast<const T*>(value->get()) : std::move(fallback);
  }

  /// Sets the value for this coroutine or callback, and what it calls from now on.
  Token set(T value) const {
    return Token(*this, exchange(std::make_shared<const T>(std::move(value))));
  }

  /// Sets what was there before the `set` that returned `token`, be it nothing.
  ///
  /// \throws std::invalid_argument  when the token is another variable's.
  void reset(const Token& token) const {
    require_own(token.setter_);
    exchange(token.old_);
  }

 private:
  std::shared_ptr<const T> initial_;
};

}  // namespace tornado
