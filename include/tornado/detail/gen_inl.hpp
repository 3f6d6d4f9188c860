// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/gen_inl.hpp: the template bodies of tornado/gen.hpp, apart from it for the
// reader's sake.
#pragma once

#include "tornado/detail/callback.hpp"
#include "tornado/detail/coroutine.hpp"

#include <memory>
#include <stdexcept>

namespace tornado::gen {

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
  void await_suspend(std::coroutine_handle<Promise> handle, const Where& where) {
    wait_until(handle, target_, timer_, where);
  }
  /// False when time ran out. Does not look at the result.
  bool await_resume() {
    timer_.stop();
    check_cancelled();
    return target_ != nullptr && target_->done();
  }
  /// After a false: TimeoutError, or what was asked for before the time ran out.
  [[noreturn]] void throw_timeout() const;

 private:
  friend class Awaiter;
  class Timer final : public TimerNode {
   public:
    Timer(DeadlineAwaiter& owner, TimePoint when) noexcept;
    DeadlineAwaiter& owner;
  };
  static void on_time(Node* node, Event event) noexcept;

  StateBase* target_;
  Timer timer_;
};

/// Waits until `target` is done. Does not look at the result.
class DoneAwaiter final : public Awaiter {
 public:
  explicit DoneAwaiter(StateBase& target) noexcept : wanted_(&target) {}

  bool await_ready() const noexcept { return wanted_->done(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle, const Where& where) {
    wait_for(handle, *wanted_, where);
  }
  void await_resume() const { check_cancelled_quietly(); }

 private:
  StateBase* wanted_;
};

/// Waits for several Futures: until all are done, or one is. When cancelled it asks those for which
/// nobody else waits, and goes on waiting until they have ended.
class TORNADO_EXPORT ManyAwaiter : public Awaiter, public Origin {
 public:
  bool await_ready() const noexcept { return finished_; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> handle, const Where& where) {
    start();
    wait_for(handle, *all_, where);
  }

 protected:
  enum class Until : bool { all, any };
  ManyAwaiter(std::vector<Ref<StateBase>> children, Until until);
  ~ManyAwaiter();
  /// Lets go of what it has waited for.
  void stop_waiting() noexcept;

  std::vector<Ref<StateBase>> children_;
  std::size_t first_ = 0;  // the place of the one that was done first
  bool cancel_requested_ = false;

 private:
  class Child;

  void start();
  Answer cancel_requested(StateBase& state) noexcept override;
  bool collect_frames(std::vector<Suspension*>& frames) const override;
  std::string describe() const override;
  static void child_done(Node* node, Event event) noexcept;
  bool complete() const noexcept;

  std::vector<Child> waits_;
  std::size_t pending_ = 0;
  bool any_;
  bool finished_ = false;
  State<void>* all_;
};

/// Waits until all are done. Throws the first error in their order, logs the others, unless they
/// are quiet.
class TORNADO_EXPORT AllAwaiter final : public ManyAwaiter {
 public:
  AllAwaiter(std::vector<Ref<StateBase>> children, gen::Quiet quiet);
  ~AllAwaiter();
  void await_resume();

 private:
  gen::Quiet quiet_;
};

/// Waits until one is done; gives its place.
class TORNADO_EXPORT AnyAwaiter final : public ManyAwaiter {
 public:
  explicit AnyAwaiter(std::vector<Ref<StateBase>> children);
  ~AnyAwaiter();
  std::size_t await_resume() const;
};

/// Whether any coroutine waits for `state`.
TORNADO_EXPORT bool is_awaited(const StateBase& state) noexcept;
/// A Future that is waited for no more: should it fail, that is logged.
TORNADO_EXPORT void log_if_it_fails(StateBase& state, gen::Quiet quiet);

template <class T>
Ref<StateBase> share(const Future<T>& future) noexcept {
  StateBase* state = Access::state(future);
  state->add_ref();
  return Ref<StateBase>(state);
}

template <class T>
std::vector<Ref<StateBase>> states_of(const std::vector<Future<T>>& futures) {
  std::vector<Ref<StateBase>> states;
  states.reserve(futures.size());
  for (const auto& future : futures) states.push_back(share(future));
  return states;
}
template <class K, class T>
std::vector<Ref<StateBase>> states_of(const std::map<K, Future<T>>& futures) {
  std::vector<Ref<StateBase>> states;
  states.reserve(futures.size());
  for (const auto& [key, future] : futures) states.push_back(share(future));
  return states;
}
template <class... T>
std::vector<Ref<StateBase>> states_of(const std::tuple<Future<T>...>& futures) {
  std::vector<Ref<StateBase>> states;
  states.reserve(sizeof...(T));
  std::apply([&states](const auto&... future) { (states.push_back(share(future)), ...); }, futures);
  return states;
}

/// The value, or a monostate; moved out if `last`, or if it must be.
template <class T>
auto take(Future<T>& future, bool last) {
  if constexpr (std::is_void_v<T>) {
    Access::state(future)->require_value();
    return std::monostate();
  } else {
    return Access::state(future)->take(last);
  }
}
template <class T>
auto take(Future<T>& future) {
  return take(future, Access::state(future)->unique());
}

/// `co_await gen::multi` in three shapes. The awaiters get names: a temporary with members, inside
/// a co_await expression, is what g++ 12 handles badly.
template <class T>
auto multi_vector(std::vector<Future<T>> children, gen::Quiet quiet)
    -> Future<std::conditional_t<std::is_void_v<T>, void, std::vector<T>>> {
  AllAwaiter all(states_of(children), quiet);
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
  AllAwaiter all(states_of(children), quiet);
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
auto multi_tuple(std::tuple<Future<T>...> children, gen::Quiet quiet)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>> {
  AllAwaiter all(states_of(children), quiet);
  co_await all;
  co_return std::apply(
      [](auto&... child) {
        return std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>(
            take(child)...);
      },
      children);
}

TORNADO_EXPORT Future<std::size_t> first_done(std::vector<Ref<StateBase>> children);

template <class T>
Future<T> cancel_after(Deadline deadline, Future<T> work) {
  DeadlineAwaiter wait(Access::state(work), deadline);
  const bool in_time = co_await wait;
  if (!in_time) {
    if (is_awaited(*Access::state(work))) wait.throw_timeout();
    work.cancel();
    DoneAwaiter end(*Access::state(work));
    co_await end;
    if (work.cancelled()) wait.throw_timeout();
  }
  co_return co_await std::move(work);
}

template <class T, class Bound>
Future<T> call_and_cancel_after(Deadline deadline, Bound bound) {
  Future<T> work = call_as_future(bound);
  Future<T> in_time = cancel_after(deadline, std::move(work));
  co_return co_await std::move(in_time);
}

/// What a gen::Task gives its function.
template <class T>
class TaskCallback {
 public:
  explicit TaskCallback(Future<T> future) : shared_(std::make_shared<Shared>(std::move(future))) {}
  template <class... U>
  void operator()(U&&... value) const {
    static_assert(std::is_void_v<T> || std::is_constructible_v<T, U&&...>,
                  "the callback of a gen::Task<T> takes what a T can be made of");
    if constexpr (std::is_void_v<T>) {
      future_set_result_unless_cancelled(shared_->future);
    } else {
      future_set_result_unless_cancelled(shared_->future, T(std::forward<U>(value)...));
    }
  }

 private:
  struct Shared {
    explicit Shared(Future<T> of) : future(std::move(of)) {}
    ~Shared() { break_promise(*Access::state(future)); }
    Future<T> future;
  };
  std::shared_ptr<Shared> shared_;
};

template <class F>
inline constexpr bool returns_future = false;
template <class T, class... Args>
inline constexpr bool returns_future<Future<T>(Args...)> = true;
template <class T, class... Args>
inline constexpr bool returns_future<Future<T>(Args...) noexcept> = true;
template <class F>
inline constexpr bool returns_future<F*> = returns_future<F>;
template <class F, class C>
inline constexpr bool returns_future<F C::*> = returns_future<F>;
template <class T, class... Args>
inline constexpr bool returns_future<Future<T>(Args...) const> = true;
template <class T, class... Args>
inline constexpr bool returns_future<Future<T>(Args...) const noexcept> = true;

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
auto multi(std::tuple<Future<T>...> children, Quiet quiet_exceptions)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>> {
  return tornado::detail::multi_tuple(std::move(children), quiet_exceptions);
}

template <class... T>
auto multi(Future<T>... children)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>> {
  return multi(std::tuple<Future<T>...>(std::move(children)...));
}

template <class T>
Future<T> with_timeout(Deadline deadline, Future<T> future, Quiet quiet_exceptions) {
  tornado::detail::DeadlineAwaiter wait(tornado::detail::Access::state(future), deadline);
  const bool in_time = co_await wait;
  if (!in_time) {
    tornado::detail::log_if_it_fails(*tornado::detail::Access::state(future), quiet_exceptions);
    wait.throw_timeout();
  }
  co_return co_await std::move(future);
}

template <class F, class... Args>
auto timeout_after(Deadline deadline, F&& f, Args&&... args) {
  auto bound = tornado::detail::bind_callback(std::forward<F>(f), std::forward<Args>(args)...);
  using Bound = decltype(bound);
  using Result = std::decay_t<std::invoke_result_t<Bound&>>;
  static_assert(
      tornado::detail::is_future<Result> || std::is_same_v<Bound, tornado::detail::Refused>,
      "gen::timeout_after takes a function that returns a Future, and its arguments");
  if constexpr (tornado::detail::is_future<Result>) {
    return tornado::detail::call_and_cancel_after<typename Result::value_type>(deadline,
                                                                               std::move(bound));
  }
}

template <class T>
Future<T> timeout_after(Deadline deadline, Future<T> future) {
  return tornado::detail::cancel_after(deadline, std::move(future));
}

template <class T>
Future<T> shield(Future<T> future) {
  if (future.done()) return future;
  Future<T> shielded;
  chain_future(future, shielded);
  return shielded;
}

template <class T>
class Settled {
 public:
  /// \param future  one that is done.
  explicit Settled(Future<T> future) noexcept : future_(std::move(future)) {
    if (!future_.cancelled()) static_cast<void>(future_.exception());  // somebody has looked
  }

  /// It ended with a value.
  bool has_value() const noexcept { return !cancelled() && !future_.exception(); }
  explicit operator bool() const noexcept { return has_value(); }
  bool cancelled() const noexcept { return future_.cancelled(); }

  /// The value, or nothing for void. Valid while a copy of this exists.
  ///
  /// \throws  what it failed with instead.
  decltype(auto) value() const& { return future_.result(); }
  /// The value itself; moved, if this is the last handle to it.
  T value() && {
    auto* state = tornado::detail::Access::state(future_);
    return state->take(state->unique());
  }

  /// What it failed with: null for a value, a CancelledError for one that was cancelled.
  std::exception_ptr error() const noexcept {
    return cancelled() ? std::make_exception_ptr(CancelledError()) : future_.exception();
  }

 private:
  Future<T> future_;
};

template <class T>
Future<Settled<T>> settled(Future<T> future) {
  tornado::detail::DoneAwaiter end(*tornado::detail::Access::state(future));
  co_await end;
  co_return Settled<T>(std::move(future));
}

template <class T>
Future<std::size_t> when_any(std::vector<Future<T>> children) {
  return tornado::detail::first_done(tornado::detail::states_of(children));
}

template <class... T>
Future<std::size_t> when_any(Future<T>... children) {
  return tornado::detail::first_done(
      tornado::detail::states_of(std::tuple<Future<T>...>(std::move(children)...)));
}

template <class T, class Key>
struct WaitIterator<T, Key>::Shared {
  std::vector<Future<T>> children;
  std::vector<Key> keys;
  std::vector<std::size_t> finished;  // in order; those in front have been given out
  std::size_t left = 0;
  std::optional<std::size_t> current;
  std::optional<Future<void>> some;  // what a pending next waits for
  bool asked = false;

  // Not held by the callbacks: Futures that nobody completes would then hold each other.
  static std::shared_ptr<Shared> create(std::vector<Future<T>> futures, std::vector<Key> keys) {
    auto shared = std::make_shared<Shared>();
    shared->children = std::move(futures);
    shared->keys = std::move(keys);
    shared->left = shared->children.size();
    for (std::size_t i = 0; i < shared->left; ++i) {
      if (shared->children[i].done()) {
        shared->finished.push_back(i);
        continue;
      }
      shared->children[i].add_done_callback([weak = std::weak_ptr<Shared>(shared), i] {
        if (const auto self = weak.lock()) self->one_finished(i);
      });
    }
    return shared;
  }

 private:
  void one_finished(std::size_t place) {
    finished.push_back(place);
    if (some && !some->done()) some->set_result();
  }
};

template <class T, class Key>
WaitIterator<T, Key>::WaitIterator(std::vector<Future<T>> children) {
  static_assert(std::is_same_v<Key, std::size_t>,
                "a WaitIterator over a vector has no keys but the places");
  std::vector<Key> keys(children.size());
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = i;
  shared_ = Shared::create(std::move(children), std::move(keys));
}

template <class T, class Key>
WaitIterator<T, Key>::WaitIterator(std::map<Key, Future<T>> children) {
  std::vector<Key> keys;
  std::vector<Future<T>> futures;
  for (auto& [key, future] : children) {
    keys.push_back(key);
    futures.push_back(std::move(future));
  }
  shared_ = Shared::create(std::move(futures), std::move(keys));
}

template <class T, class Key>
Future<std::optional<typename WaitIterator<T, Key>::Value>> WaitIterator<T, Key>::next() {
  if (shared_->asked) {
    throw std::logic_error("WaitIterator::next: the Future of the last call is pending");
  }
  return take_next(shared_);
}

template <class T, class Key>
Future<std::optional<typename WaitIterator<T, Key>::Value>> WaitIterator<T, Key>::take_next(
    std::shared_ptr<Shared> shared) {
  shared->current.reset();
  if (shared->left == 0) co_return std::nullopt;
  const std::size_t given = shared->children.size() - shared->left;
  if (shared->finished.size() == given) {
    const auto reset = [](Shared* asked) { asked->asked = false; };
    const std::unique_ptr<Shared, decltype(reset)> guard(shared.get(), reset);
    shared->asked = true;
    Future<void> some;
    shared->some = some;
    co_await std::move(some);
  }
  const std::size_t place = shared->finished[given];
  --shared->left;
  shared->current = place;
  // A copy where that can be had, since current_future() shows the value too.
  co_return std::optional<Value>(tornado::detail::take(shared->children[place], false));
}

template <class T, class Key>
std::optional<Key> WaitIterator<T, Key>::current_index() const {
  if (!shared_->current) return std::nullopt;
  return shared_->keys[*shared_->current];
}

template <class T, class Key>
std::optional<Future<T>> WaitIterator<T, Key>::current_future() const {
  if (!shared_->current) return std::nullopt;
  return shared_->children[*shared_->current];
}

template <class T>
auto maybe_future(T&& value) {
  if constexpr (tornado::detail::is_future<std::decay_t<T>>) {
    return std::decay_t<T>(std::forward<T>(value));
  } else {
    return make_ready_future(std::forward<T>(value));
  }
}

template <class... Args, class F>
constexpr bool is_coroutine_function(const F&) noexcept {
  if constexpr (std::is_invocable_v<const F&, Args...>) {
    return tornado::detail::is_future<std::decay_t<std::invoke_result_t<const F&, Args...>>>;
  } else if constexpr (requires { &F::operator(); }) {
    return tornado::detail::returns_future<decltype(&F::operator())>;
  } else {
    return tornado::detail::returns_future<std::decay_t<F>>;
  }
}

template <class F>
class Engine {
 public:
  explicit Engine(F f) : f_(std::move(f)) {}
  template <class... Args>
  void operator()(Args&&... args) const {
    using tornado::detail::Node;
    tornado::detail::make_job(f_, std::forward<Args>(args)...)->handle(Node::Event::run);
  }

 private:
  F f_;
};

template <class F>
Engine<std::decay_t<F>> engine(F&& f) {
  return Engine<std::decay_t<F>>(std::forward<F>(f));
}

template <class T, class F, class... Args>
Future<T> Task(F&& f, Args&&... args) {
  using Callback = tornado::detail::TaskCallback<T>;
  Future<T> future;
  const Callback callback(future);  // kept, or an exception from f would break the promise first
  try {
    tornado::detail::invoke(std::forward<F>(f), std::forward<Args>(args)..., Callback(callback));
  } catch (...) {
    if (future.done()) throw;
    future.set_exception(std::current_exception());
  }
  return future;
}

}  // namespace tornado::gen
