// SPDX-License-Identifier: Apache-2.0
//
// tornado/gen.hpp: coroutines. A function that returns Future<T> and contains co_await or co_return
// is what `@gen.coroutine` or `async def` makes in Python.
//
// Coroutines run on the thread of their loop, the one that was current at their first suspension.
//
// Cancelling, here and in every part of the library: `cancel()` asks. What a coroutine waits for is
// asked in its turn. If it is complete already, its result is delivered and the request is met at
// the next wait; otherwise the wait ends with CancelledError and nothing is lost: bytes stay in
// their stream, items in their queue, permits in their lock. What others wait for too goes on. Only
// when the coroutine has ended with CancelledError is its Future cancelled.
// docs/guide/coroutines.md tells more.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/detail/runner.hpp"
#include "tornado/util.hpp"

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tornado::gen {

using tornado::TimeoutError;

/// The type of `gen::moment`.
class Moment {
 public:
  constexpr Moment() noexcept {}
};

/// `co_await gen::moment` lets one iteration of the loop pass, so that others get their turn.
/// Python: `gen.moment`.
inline constexpr Moment moment;

/// Done after `duration` (below or at zero: after one iteration of the loop). Python: `gen.sleep`.
///
/// Cancelling it removes the timer.
[[nodiscard]] TORNADO_EXPORT Future<void> sleep(Deadline duration);

/// Which errors that nobody will see are not worth a log line: what `multi` and `with_timeout`
/// take.
///
/// Python passes exception types; here it is `quiet<SomeError, OtherError>`.
using Quiet = bool (*)(const std::exception_ptr&);

/// True for an error of one of the types `E`.
template <class... E>
bool quiet(const std::exception_ptr& error);

/// Done when all `children` are, with their values in order. When some fail, the error of the first
/// of them in order is the result, and the errors of the others are logged, unless
/// `quiet_exceptions` says not to. The same Future may stand there twice; with none it is done at
/// once. Python: `gen.multi`.
///
/// Cancelling it cancels the children that nobody else waits for.
template <class T>
[[nodiscard]] auto multi(std::vector<Future<T>> children, Quiet quiet_exceptions = nullptr)
    -> Future<std::conditional_t<std::is_void_v<T>, void, std::vector<T>>>;

/// As above, for a mapping: Python's dict.
template <class K, class T>
[[nodiscard]] auto multi(std::map<K, Future<T>> children, Quiet quiet_exceptions = nullptr)
    -> Future<std::conditional_t<std::is_void_v<T>, void, std::map<K, T>>>;

/// As above, for Futures of different types: `auto [a, b] = co_await gen::multi(f(), g());`
/// A `Future<void>` gives a `std::monostate`. What else can be awaited may stand among them.
template <class... T>
[[nodiscard]] auto multi(std::tuple<Future<T>...> children, Quiet quiet_exceptions = nullptr)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>>;
template <class... T>
[[nodiscard]] auto multi(Future<T>... children)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>>;

/// `future`'s result, or TimeoutError when `deadline` passes first. Instead of a Future it takes
/// whatever else can be awaited. Python: `gen.with_timeout`.
///
/// The work behind `future` goes on after the timeout: it is not cancelled, for which there is
/// `timeout_after`. Should it fail then, the error is logged, unless `quiet_exceptions` says not
/// to.
///
/// \param deadline  a duration from now, or a time_point; zero or past: the next iteration.
/// \par Fails with
///   `TimeoutError`; or as `future` does.
///
/// Cancelling it cancels `future`, if nobody else waits for that.
template <class T>
[[nodiscard]] Future<T> with_timeout(Deadline deadline, Future<T> future,
                                     Quiet quiet_exceptions = nullptr);

/// Calls the coroutine `f(args...)`, and cancels it when `deadline` passes before it has ended.
///
///     auto line = co_await gen::timeout_after(10s, read_request, stream);
///
/// What the coroutine waits for ends with CancelledError, which it may clean up after; it is waited
/// for until it has ended. When it ends with a result after all, that is not lost: it is the
/// result. `f` and `args` are kept until then. In Python, `asyncio.timeout` does this.
///
/// \param deadline  a duration from now, or a time_point; zero or past: the next iteration.
/// \par Fails with
///   `TimeoutError`, when the coroutine was cancelled so; or as the coroutine does.
///
/// Cancelling it cancels the coroutine.
template <class F, class... Args>
[[nodiscard]] auto timeout_after(Deadline deadline, F&& f, Args&&... args);
/// The same for a coroutine that was called already; it is cancelled only if nobody else waits for
/// it.
template <class T>
[[nodiscard]] Future<T> timeout_after(Deadline deadline, Future<T> future);

/// A Future that ends as `future` does, but whose cancelling leaves that alone.
/// Python: `asyncio.shield`.
template <class T>
[[nodiscard]] Future<T> shield(Future<T> future);

/// How a Future ended: what `settled` gives.
template <class T>
class Settled;

/// Waits until `future` is done and does not throw what it failed with: that is in the result.
///
///     const auto read = co_await gen::settled(stream.read_until("\n"));
///     if (read) use(read.value());
///
/// \par Fails with
///   nothing; CancelledError arrives when the waiting coroutine itself was cancelled.
///
/// Cancelling it cancels `future`, if nobody else waits for that.
template <class T>
[[nodiscard]] Future<Settled<T>> settled(Future<T> future);

/// Which of `children` is done first, counted from 0; the first in order if several are already.
/// How it ended makes no difference, and the others go on.
///
///     const std::size_t first = co_await gen::when_any(answer, stop);
///
/// \throws std::invalid_argument  when there are none.
///
/// Cancelling it cancels the children that nobody else waits for.
template <class T>
[[nodiscard]] Future<std::size_t> when_any(std::vector<Future<T>> children);
template <class... T>
[[nodiscard]] Future<std::size_t> when_any(Future<T>... children);

/// Gives the results of Futures as they come. Python: `gen.WaitIterator`.
///
///     gen::WaitIterator<int> results(futures);
///     while (auto result = co_await results.next()) {
///       fmt::print("{} from {}\n", *result, *results.current_index());
///     }
///
/// A handle: copies share one iterator. It keeps what it needs until the last `next` is done.
///
/// \tparam Key  what tells the Futures apart: their place, from 0, or the key of the map that they
///              come in (Python's keyword arguments).
template <class T, class Key = std::size_t>
class WaitIterator {
 public:
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  explicit WaitIterator(std::vector<Future<T>> children);
  explicit WaitIterator(std::map<Key, Future<T>> children);
  template <std::same_as<Future<T>>... F>
  explicit WaitIterator(Future<T> first, F... others)
      : WaitIterator(std::vector<Future<T>>{std::move(first), std::move(others)...}) {}

  /// The result of the Future that is done next; nothing when all have been given out.
  ///
  /// \throws std::logic_error  while the last `next` is pending.
  /// \par Fails with
  ///   what that Future failed with; the others can be had by further calls.
  ///
  /// Cancelling it loses no result, and cancels none of the Futures.
  [[nodiscard]] Future<std::optional<Value>> next();

  /// Whether all have been given out.
  bool done() const noexcept { return shared_->left == 0; }
  /// Which Future the last `next` was about. None before the first, and after the end.
  std::optional<Key> current_index() const;
  /// That Future itself.
  std::optional<Future<T>> current_future() const;

 private:
  struct Shared;
  static Future<std::optional<Value>> take_next(std::shared_ptr<Shared> shared);

  std::shared_ptr<Shared> shared_;
};

/// `value` as a Future: itself when it is one, else one that is done. Python: `gen.maybe_future`.
template <class T>
[[nodiscard]] auto maybe_future(T&& value);
[[nodiscard]] inline Future<void> maybe_future() { return make_ready_future(); }

/// Whether a call of `f` returns a Future. Python: `gen.is_coroutine_function`.
///
/// \tparam Args  the types of the arguments; needed when f is overloaded or a template.
template <class... Args, class F>
constexpr bool is_coroutine_function(const F& f) noexcept;

template <class F>
class Engine;

/// A callable that begins the coroutine `f(args...)` and returns nothing: for interfaces that want
/// a plain callback. The coroutine's error is logged as a callback's is; its result is not used.
/// `f` and the arguments are kept until it ends. Python: Tornado 4's `gen.engine`.
template <class F>
[[nodiscard]] Engine<std::decay_t<F>> engine(F&& f);

/// Calls `f(args..., callback)`, a function that gives its result to a callback, and makes a Future
/// of it. Python: Tornado 4's `gen.Task`.
///
///     const std::string name = co_await gen::Task<std::string>(lookup, address);
///
/// The callback may be copied; it is called once, on the loop's thread, with what a T can be made
/// of.
///
/// \throws  what `f` throws after it has called the callback.
/// \par Fails with
///   what `f` throws before that; `std::future_error` (broken promise) when every copy of the
///   callback is gone and none was called.
///
/// Cancelling it only means that the callback does nothing.
template <class T = void, class F, class... Args>
[[nodiscard]] Future<T> Task(F&& f, Args&&... args);

/// What `co_await` makes of something that is no Future: an overload, found by argument-dependent
/// lookup, returns one. Python: `gen.convert_yielded`.
template <class T>
[[nodiscard]] Future<T> convert_yielded(Future<T> future) {
  return future;
}
[[nodiscard]] TORNADO_EXPORT Future<void> convert_yielded(Moment);
template <class T>
[[nodiscard]] auto convert_yielded(std::vector<Future<T>> children) {
  return multi(std::move(children));
}
template <class K, class T>
[[nodiscard]] auto convert_yielded(std::map<K, Future<T>> children) {
  return multi(std::move(children));
}
template <class... T>
[[nodiscard]] auto convert_yielded(std::tuple<Future<T>...> children) {
  return multi(std::move(children));
}

template <class T>
concept ConvertibleToFuture = requires(T&& value) {
  requires tornado::detail::is_future<
      std::decay_t<decltype(convert_yielded(std::forward<T>(value)))>>;
};

// multi and with_timeout for what is not, or not only, Futures.
template <ConvertibleToFuture... C>
  requires(sizeof...(C) > 1 && !(tornado::detail::is_future<std::decay_t<C>> && ...))
[[nodiscard]] auto multi(C&&... children) {
  return multi(convert_yielded(std::forward<C>(children))...);
}
template <ConvertibleToFuture C>
  requires(!tornado::detail::is_future<std::decay_t<C>>)
[[nodiscard]] auto with_timeout(Deadline deadline, C&& child, Quiet quiet_exceptions = nullptr) {
  return with_timeout(deadline, convert_yielded(std::forward<C>(child)), quiet_exceptions);
}

/// Tornado's older name for `multi`.
template <class... Children>
[[nodiscard]] auto multi_future(Children&&... children) {
  return multi(std::forward<Children>(children)...);
}

/// The promise type of coroutines that return `Future<T>`; what drives them. Programs do not name
/// it, except to see how it works. Python: `gen.Runner`.
///
/// The coroutine starts when it is called, and runs on the caller's stack until it first waits for
/// something that is not done. From there the loop resumes it. Its parameters and locals go when it
/// ends; the result stays for as long as there is a Future. Frame and result share one allocation.
template <class T>
class Runner;

}  // namespace tornado::gen

#include "tornado/detail/gen_inl.hpp"
