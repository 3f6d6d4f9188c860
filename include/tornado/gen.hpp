// SPDX-License-Identifier: Apache-2.0
//
// tornado/gen.hpp: coroutines. A function that returns Future<T> and contains co_await or co_return
// is what `@gen.coroutine` or `async def` makes in Python.
//
// Coroutines run on the thread of their loop, the one that was current at their first suspension.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/detail/runner.hpp"
#include "tornado/util.hpp"

#include <coroutine>
#include <cstddef>
#include <map>
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
[[nodiscard]] auto multi(Future<T>... children)
    -> Future<std::tuple<std::conditional_t<std::is_void_v<T>, std::monostate, T>...>>;

/// `future`'s result, or TimeoutError when `deadline` passes first. Instead of a Future it takes
/// whatever else can be awaited. Python: `gen.with_timeout`.
///
/// The work behind `future` goes on after the timeout: it is not cancelled. Should it fail then,
/// the error is logged, unless `quiet_exceptions` says not to.
///
/// \param deadline  a duration from now, or a time_point; zero or past: the next iteration.
/// \par Fails with
///   `TimeoutError`; or as `future` does.
///
/// Cancelling it cancels `future`, if nobody else waits for that.
template <class T>
[[nodiscard]] Future<T> with_timeout(Deadline deadline, Future<T> future,
                                     Quiet quiet_exceptions = nullptr);

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
  return std::apply([](Future<T>&... each) { return multi(std::move(each)...); }, children);
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
