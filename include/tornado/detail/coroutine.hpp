// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/coroutine.hpp: what the compiler makes a coroutine of: the promise types, and what
// co_await does.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/detail/runner.hpp"
#include "tornado/gen.hpp"

#include <concepts>
#include <coroutine>
#include <new>
#include <type_traits>
#include <utility>

namespace tornado::detail {

/// The part of awaiting a Future that only a suspension needs: made when that happens. Until then
/// there is the place of the co_await.
class FutureWait {
 public:
  explicit FutureWait(const Where& where) noexcept : where_(where) {}
  FutureWait(const FutureWait&) = delete;
  FutureWait& operator=(const FutureWait&) = delete;
  ~FutureWait() {
    if (suspended_) wait_.~Wait();
  }
  template <class Promise>
  void suspend(std::coroutine_handle<Promise> handle, StateBase& target) {
    const Where where = where_;
    ::new (static_cast<void*>(&wait_)) Wait;
    suspended_ = true;
    wait_.wait_for(handle, target, where);
  }
  void check_cancelled() const {
    if (suspended_) wait_.check_cancelled();
  }

 private:
  class Wait final : public Awaiter {
   public:
    using Awaiter::check_cancelled;
    using Awaiter::wait_for;
  };
  union {
    Where where_;
    Wait wait_;
  };
  bool suspended_ = false;
};

/// Awaits a Future handed over: gives the value itself, moved when this was the only handle.
template <class T>
class TakingAwaiter {
 public:
  TakingAwaiter(Future<T>&& future, const Where& where) noexcept
      : future_(std::move(future)), wait_(where) {}

  bool await_ready() const noexcept { return future_.done(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_.suspend(handle, *Access::state(future_));
  }
  TORNADO_INLINE T await_resume() {
    wait_.check_cancelled();
    State<T>* state = Access::state(future_);
    return state->take(state->unique());
  }

 private:
  Future<T> future_;
  FutureWait wait_;
};

/// Awaits a Future that the caller keeps: gives a reference to the value in it.
template <class T>
class LookingAwaiter {
 public:
  LookingAwaiter(const Future<T>& future, const Where& where) noexcept
      : future_(future), wait_(where) {}

  bool await_ready() const noexcept { return future_.done(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_.suspend(handle, *Access::state(future_));
  }
  TORNADO_INLINE decltype(auto) await_resume() {
    wait_.check_cancelled();
    return future_.result();
  }

 private:
  Future<T> future_;  // a copy: the caller's variable may change meanwhile
  FutureWait wait_;
};

class MomentAwaiter final : public Awaiter {
 public:
  explicit MomentAwaiter(const Where& where) noexcept : where_(where) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_for_iteration(handle, where_);
  }
  void await_resume() const { check_cancelled(); }

 private:
  Where where_;
};

/// Awaits a variable of the library's own. g++ 12 copies an awaiter that await_transform returns by
/// reference.
template <class A>
class NamedAwaiter {
 public:
  NamedAwaiter(A& awaiter, const Where& where) noexcept : awaiter_(&awaiter), where_(where) {}
  bool await_ready() const noexcept { return awaiter_->await_ready(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    awaiter_->await_suspend(handle, where_);
  }
  decltype(auto) await_resume() { return awaiter_->await_resume(); }

 private:
  A* awaiter_;
  Where where_;
};

/// Lets the compiler go on behind a co_await that was refused, without more errors.
class AwaitsAnything {
 public:
  AwaitsAnything() noexcept {}
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  AwaitsAnything await_resume() const noexcept { return {}; }
  template <class T>
  operator T() const;
};

/// The promise of a coroutine whose return type was refused: without more errors, too.
template <class R>
class RefusedPromise {
 public:
  R get_return_object() const { return R(); }
  std::suspend_never initial_suspend() const noexcept { return {}; }
  std::suspend_never final_suspend() const noexcept { return {}; }
  void unhandled_exception() const noexcept {}
  template <class U>
  void return_value(U&&) const noexcept {}
  template <class U>
  std::suspend_never yield_value(U&&) const noexcept {
    return {};
  }
  template <class U>
  AwaitsAnything await_transform(U&&) const noexcept {
    return {};
  }
};

/// What can be awaited in a coroutine of the library's.
class AwaitingRunner : public RunnerBase {
 public:
  template <class U>
  TakingAwaiter<U> await_transform(Future<U>&& future, Where where = Where::current()) noexcept {
    return TakingAwaiter<U>(std::move(future), where);
  }
  template <class U>
  LookingAwaiter<U> await_transform(const Future<U>& future,
                                    Where where = Where::current()) noexcept {
    return LookingAwaiter<U>(future, where);
  }
  template <class U>
  LookingAwaiter<U> await_transform(Future<U>& future, Where where = Where::current()) noexcept {
    return LookingAwaiter<U>(future, where);
  }
  MomentAwaiter await_transform(gen::Moment, Where where = Where::current()) noexcept {
    return MomentAwaiter(where);
  }
  template <std::derived_from<Awaiter> A>
  NamedAwaiter<A> await_transform(A& awaiter, Where where = Where::current()) noexcept {
    return NamedAwaiter<A>(awaiter, where);
  }

  template <class U>
  auto await_transform(U&& value, Where where = Where::current()) {
    using gen::convert_yielded;
    static_assert(gen::ConvertibleToFuture<U>,
                  "co_await, in a coroutine that returns tornado::Future, takes a Future, "
                  "gen::moment, a vector, map or tuple of Futures, or what an overload of "
                  "convert_yielded makes a Future of");
    if constexpr (gen::ConvertibleToFuture<U>) {
      auto future = convert_yielded(std::forward<U>(value));
      return TakingAwaiter<typename decltype(future)::value_type>(std::move(future), where);
    } else {
      return AwaitsAnything();
    }
  }

 protected:
  AwaitingRunner() noexcept {}
  ~AwaitingRunner() = default;
};

/// What gen::Runner<T> is, but for the two ways to return.
template <class T>
class TypedRunner : public AwaitingRunner {
 public:
  static void* operator new(std::size_t bytes) {
    return reinterpret_cast<char*>(new_block(block_offset<T> + bytes)) + block_offset<T>;
  }
  static void operator delete(void* frame, std::size_t bytes) noexcept {
    char* memory = static_cast<char*>(frame) - block_offset<T>;
    const std::uint32_t list = PerThread::list_of(block_offset<T> + bytes);
    if (list == 0 || was_not_claimed(reinterpret_cast<Block*>(memory))) {
      free_block(reinterpret_cast<Block*>(memory), list);
    } else {
      std::launder(reinterpret_cast<State<T>*>(memory))->release_from_frame();
    }
  }

  Future<T> get_return_object() noexcept { return Access::adopt(state()); }
  std::suspend_never initial_suspend() noexcept { return {}; }
  // The locals are gone by now, the parameters go next.
  std::suspend_never final_suspend() noexcept {
    finish(*state_);
    return {};
  }
  void unhandled_exception() noexcept {
    state()->reset();
    store_exception(*state_);
  }

 protected:
  TypedRunner() {
    Block* block = claim_block(this, block_offset<T>);
    if (block != nullptr && block->list != 0) {
      state_ = ::new (static_cast<void*>(block)) State<T>(2, block->list);
    } else {  // also for a large frame, which its result should not keep
      state_ = State<T>::create();
      state_->add_ref();
      flags_ |= state_is_apart;
    }
  }
  ~TypedRunner() = default;

  State<T>* state() noexcept { return static_cast<State<T>*>(state_); }
};

}  // namespace tornado::detail

namespace tornado::gen {

template <class T>
class Runner final : public tornado::detail::TypedRunner<T> {
 public:
  Runner() {}
  template <class U = T>
  void return_value(U&& value) {
    static_assert(std::is_constructible_v<T, U&&>,
                  "a coroutine that returns Future<T> has to co_return what a T can be made of");
    if constexpr (std::is_constructible_v<T, U&&>) this->state()->emplace(std::forward<U>(value));
  }
};

template <>
class Runner<void> final : public tornado::detail::TypedRunner<void> {
 public:
  Runner() {}
  void return_void() noexcept {}
};

}  // namespace tornado::gen
