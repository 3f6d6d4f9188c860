// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/gen_inl.hpp: the template bodies of tornado/gen.hpp, apart from it for the
// reader's sake.
#pragma once

#include "tornado/detail/runner.hpp"
#include "tornado/gen.hpp"

namespace tornado::detail {

/// The part of awaiting a Future that only a suspension needs: made when that happens.
class FutureWait {
 public:
  FutureWait() noexcept {}
  FutureWait(const FutureWait&) = delete;
  FutureWait& operator=(const FutureWait&) = delete;
  ~FutureWait() {
    if (suspended_) wait_.~Wait();
  }
  template <class Promise>
  void suspend(std::coroutine_handle<Promise> handle, StateBase& target) {
    ::new (static_cast<void*>(&wait_)) Wait;
    suspended_ = true;
    wait_.wait_for(handle, target);
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
    Wait wait_;
  };
  bool suspended_ = false;
};

/// Awaits a Future handed over: gives the value itself, moved when this was the only handle.
template <class T>
class TakingAwaiter {
 public:
  explicit TakingAwaiter(Future<T>&& future) noexcept : future_(std::move(future)) {}

  bool await_ready() const noexcept { return future_.done(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_.suspend(handle, *Access::state(future_));
  }
  T await_resume() {
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
  explicit LookingAwaiter(const Future<T>& future) noexcept : future_(future) {}

  bool await_ready() const noexcept { return future_.done(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_.suspend(handle, *Access::state(future_));
  }
  decltype(auto) await_resume() {
    wait_.check_cancelled();
    return future_.result();
  }

 private:
  Future<T> future_;  // a copy: the caller's variable may change meanwhile
  FutureWait wait_;
};

class MomentAwaiter final : public Awaiter {
 public:
  MomentAwaiter() noexcept {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_for_iteration(handle);
  }
  void await_resume() const { check_cancelled(); }
};

/// Awaits a variable of the library's own. g++ 12 copies an awaiter that await_transform returns by
/// reference.
template <class A>
class NamedAwaiter {
 public:
  explicit NamedAwaiter(A& awaiter) noexcept : awaiter_(&awaiter) {}
  bool await_ready() const noexcept { return awaiter_->await_ready(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    awaiter_->await_suspend(handle);
  }
  decltype(auto) await_resume() { return awaiter_->await_resume(); }

 private:
  A* awaiter_;
};

/// What gen::Runner<T> is, but for the two ways to return.
template <class T>
class TypedRunner : public RunnerBase {
 public:
  TypedRunner(const TypedRunner&) = delete;
  TypedRunner& operator=(const TypedRunner&) = delete;

  static void* operator new(std::size_t bytes) {
    return reinterpret_cast<char*>(new_block(block_offset<T> + bytes)) + block_offset<T>;
  }
  static void operator delete(void* frame) noexcept {
    drop_frame(reinterpret_cast<Block*>(static_cast<char*>(frame) - block_offset<T>));
  }

  Future<T> get_return_object() noexcept {
    state_->add_ref();
    return Access::adopt(state_);
  }
  std::suspend_never initial_suspend() noexcept { return {}; }
  // The locals are gone by now, the parameters go next.
  std::suspend_never final_suspend() noexcept {
    this->finish(*state_);
    return {};
  }
  void unhandled_exception() noexcept {
    state_->reset();
    this->store_exception(*state_);
  }

  template <class U>
  TakingAwaiter<U> await_transform(Future<U>&& future) noexcept {
    return TakingAwaiter<U>(std::move(future));
  }
  template <class U>
  LookingAwaiter<U> await_transform(const Future<U>& future) noexcept {
    return LookingAwaiter<U>(future);
  }
  template <class U>
  LookingAwaiter<U> await_transform(Future<U>& future) noexcept {
    return LookingAwaiter<U>(future);
  }
  MomentAwaiter await_transform(gen::Moment) noexcept { return MomentAwaiter(); }
  template <std::derived_from<Awaiter> A>
  NamedAwaiter<A> await_transform(A& awaiter) noexcept {
    return NamedAwaiter<A>(awaiter);
  }

  template <class U>
  auto await_transform(U&& value) {
    using gen::convert_yielded;
    static_assert(gen::ConvertibleToFuture<U>,
                  "co_await, in a coroutine that returns tornado::Future, takes a Future, "
                  "gen::moment, a vector, map or tuple of Futures, or what an overload of "
                  "convert_yielded makes a Future of");
    auto future = convert_yielded(std::forward<U>(value));
    return TakingAwaiter<typename decltype(future)::value_type>(std::move(future));
  }

 protected:
  TypedRunner() {
    Block* block = claim_block(this);
    number_ = ++per_thread().frames;
    if (block != nullptr) {
      state_ = ::new (static_cast<void*>(block + 1)) State<T>;
      state_->in_block = true;
    } else {
      state_ = State<T>::create();
    }
    state_->origin = this;
  }
  ~TypedRunner() {
    if (!state_->done()) state_->abandon();
    state_->release();
  }

  State<T>* state_;
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
    this->state_->emplace(std::forward<U>(value));
  }
};

template <>
class Runner<void> final : public tornado::detail::TypedRunner<void> {
 public:
  Runner() {}
  void return_void() noexcept {}
};

template <class... E>
bool quiet(const std::exception_ptr& error) {
  const auto is = [&error]<class Type>(std::type_identity<Type>) {
    try {
      std::rethrow_exception(error);
    } catch (const Type&) {
      return true;
    } catch (...) {
      return false;
    }
  };
  return (is(std::type_identity<E>()) || ...);
}

}  // namespace tornado::gen

namespace tornado::detail {

/// Waits until `target` is done, but no longer than to `deadline`.
class TORNADO_EXPORT DeadlineAwaiter final : public Awaiter {
 public:
  DeadlineAwaiter(StateBase* target, Deadline deadline) noexcept;

  bool await_ready() const noexcept { return target_ != nullptr && target_->done(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    wait_until(handle, target_, timer_);
  }
  /// False when time ran out. Does not look at the result.
  bool await_resume() {
    timer_.stop();
    check_cancelled();
    return target_ != nullptr && target_->done();
  }

 private:
  class Timer final : public TimerNode {
   public:
    Timer(DeadlineAwaiter& owner, TimePoint when) noexcept;
    DeadlineAwaiter& owner;
  };
  static void on_time(Node* node, Event event) noexcept;

  StateBase* target_;
  Timer timer_;
};

/// Waits until all of `children` are done. Throws the first error in their order, logs the others,
/// unless they are quiet.
class TORNADO_EXPORT AllAwaiter final : public Awaiter, public Origin {
 public:
  AllAwaiter(std::vector<Ref<StateBase>> children, gen::Quiet quiet);
  ~AllAwaiter();

  bool await_ready() const noexcept { return pending_ == 0; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle) {
    start();
    wait_for(handle, *all_);
  }
  void await_resume();

 private:
  class Child final : public Node {
   public:
    Child() noexcept;
    AllAwaiter* owner = nullptr;  // null when it is waited for no more
    Ref<StateBase> state;
  };

  void start();
  Answer cancel_requested(StateBase& state) noexcept override;
  bool collect_frames(std::vector<RunnerBase*>& frames) const override;
  static void child_done(Node* node, Event event) noexcept;

  std::vector<Ref<StateBase>> children_;
  std::unique_ptr<Child[]> waits_;
  std::size_t waits_count_ = 0;
  std::size_t pending_ = 0;
  gen::Quiet quiet_;
  bool cancel_requested_ = false;
  State<void>* all_;
};

/// A Future that is waited for no more: should it fail, that is logged.
TORNADO_EXPORT void log_if_it_fails(StateBase& state, gen::Quiet quiet);
[[noreturn]] TORNADO_EXPORT void throw_timeout();

template <class T>
Ref<StateBase> share(const Future<T>& future) noexcept {
  StateBase* state = Access::state(future);
  state->add_ref();
  return Ref<StateBase>(state);
}

template <class T>
decltype(auto) take(Future<T>& future) {
  State<T>* state = Access::state(future);
  if constexpr (std::is_void_v<T>) {
    state->require_value();
    return std::monostate();
  } else {
    return state->take(state->unique());
  }
}

/// `co_await gen::multi` in three shapes. The awaiters get names: a temporary with members, inside
/// a co_await expression, is what g++ 12 handles badly.
template <class T>
auto multi_vector(std::vector<Future<T>> children, gen::Quiet quiet)
    -> Future<std::conditional_t<std::is_void_v<T>, void, std::vector<T>>> {
  std::vector<Ref<StateBase>> states;
  states.reserve(children.size());
  for (const auto& child : children) states.push_back(share(child));
  AllAwaiter all(std::move(states), quiet);
  co_await all;
  if constexpr (!std::is_void_v<T>) {
    std::vector<T> values;
    values.reserve(children.size());
    for (auto& child : children) values.push_back(take(child));
    co_return values;
  }
}

template <class K, class T>
auto multi_map(std::map<K, Future<T>> children, gen::Quiet quiet)
    -> Future<std::conditional_t<std::is_void_v<T>, void, std::map<K, T>>> {
  std::vector<Ref<StateBase>> states;
  for (const auto& [key, child] : children) states.push_back(share(child));
  AllAwaiter all(std::move(states), quiet);
  co_await all;
  if constexpr (!std::is_void_v<T>) {
    std::map<K, T> values;
    for (auto& child : children) {
      values.emplace_hint(values.end(), child.first, take(child.second));
    }
    co_return values;
  }
}

template <class... T>
auto multi_tuple(Future<T>... children)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>> {
  std::vector<Ref<StateBase>> states;
  states.reserve(sizeof...(T));
  (states.push_back(share(children)), ...);
  AllAwaiter all(std::move(states), nullptr);
  co_await all;
  co_return std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>(
      take(children)...);
}

}  // namespace tornado::detail

namespace tornado::gen {

template <class T>
auto multi(std::vector<Future<T>> children, Quiet quiet_exceptions)
    -> Future<std::conditional_t<std::is_void_v<T>, void, std::vector<T>>> {
  return tornado::detail::multi_vector(std::move(children), quiet_exceptions);
}

template <class K, class T>
auto multi(std::map<K, Future<T>> children, Quiet quiet_exceptions)
    -> Future<std::conditional_t<std::is_void_v<T>, void, std::map<K, T>>> {
  return tornado::detail::multi_map(std::move(children), quiet_exceptions);
}

template <class... T>
auto multi(Future<T>... children)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>> {
  return tornado::detail::multi_tuple(std::move(children)...);
}

template <class T>
Future<T> with_timeout(Deadline deadline, Future<T> future, Quiet quiet_exceptions) {
  tornado::detail::DeadlineAwaiter wait(tornado::detail::Access::state(future), deadline);
  const bool in_time = co_await wait;
  if (!in_time) {
    tornado::detail::log_if_it_fails(*tornado::detail::Access::state(future), quiet_exceptions);
    tornado::detail::throw_timeout();
  }
  co_return co_await std::move(future);
}

}  // namespace tornado::gen
