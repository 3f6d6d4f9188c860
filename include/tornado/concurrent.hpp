// SPDX-License-Identifier: Apache-2.0
//
// tornado/concurrent.hpp: Future, and the doors through which other threads complete one.
//
// A Future belongs to one IOLoop and may be touched only from that loop's thread; RemotePromise is
// the exception, and says so. A coroutine that returns a Future needs <tornado/gen.hpp>.
#pragma once

#include "tornado/detail/state.hpp"
#include "tornado/util.hpp"

#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace tornado {

namespace gen {
template <class T>
class Runner;
}  // namespace gen

/// A wait ended because it was cancelled. Python: `asyncio.CancelledError`.
///
/// Not a `std::exception`, so that `catch (const std::exception&)` lets it pass, as `except
/// Exception` does in Python. Whoever catches it to clean up throws it on.
class TORNADO_EXPORT CancelledError {
 public:
  CancelledError() noexcept;
  CancelledError(const CancelledError&) noexcept;
  CancelledError& operator=(const CancelledError&) noexcept;
  virtual ~CancelledError();
  virtual const char* what() const noexcept;
};

/// A Future was asked for what it has not (yet), or told what it knows already.
/// Python: `asyncio.InvalidStateError`.
class TORNADO_EXPORT InvalidStateError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
  InvalidStateError(const InvalidStateError&) noexcept;
  InvalidStateError& operator=(const InvalidStateError&) noexcept;
  ~InvalidStateError() override;
};

namespace detail {

/// True when no T can be stored in a Future.
template <class T>
inline constexpr bool bad_value =
    std::is_reference_v<T> || std::is_const_v<T> || std::is_volatile_v<T> || std::is_array_v<T> ||
    std::is_function_v<T>;
template <class R>
class RefusedPromise;

}  // namespace detail

/// The result of something that has not happened yet. Python: `tornado.concurrent.Future`.
///
///     Future<int> answer;                      // pending
///     answer.add_done_callback([](Future<int> f) { use(f.result()); });
///     answer.set_result(42);                   // the callback runs later, from the loop
///
/// A Future is a handle: copies share one result, as names do in Python. A coroutine that returns
/// `Future<T>` makes one; the default constructor makes one that somebody else will complete.
/// Callbacks and coroutines that wait never run inside `set_result`, but after the running
/// callback has returned. Dropping the last handle of a pending Future cancels nothing: a coroutine
/// behind it goes on. A Future that failed, and whose error nobody looked at, logs the error when
/// the last handle goes.
///
/// A moved-from Future is empty: it may be assigned to or destroyed, nothing else.
template <class T = void>
class Future {
 public:
  using value_type = T;
  using promise_type = gen::Runner<T>;

  /// A pending Future, to be completed by `set_result`, `set_exception` or `cancel`.
  Future() : state_(detail::State<T>::create()) {}

  /// It has a value, an error, or was cancelled.
  bool done() const noexcept { return state_->done(); }
  /// Not done. Tornado 4's name; that it is being worked on is not implied.
  bool running() const noexcept { return !done(); }
  /// It was cancelled, and what it stood for has ended. False while a `cancel()` is on its way.
  bool cancelled() const noexcept { return state_->status() == detail::Status::cancelled; }

  /// The value, or nothing for `Future<void>`. Valid while a handle to this Future exists.
  ///
  /// \throws InvalidStateError  when pending, or when the value has been moved out.
  /// \throws CancelledError     when cancelled.
  /// \throws the error          that the Future failed with.
  TORNADO_INLINE decltype(auto) result() const { return state_->value(); }

  /// The error, or null when it ended with a value. Counts as having looked at the error.
  ///
  /// \throws InvalidStateError  when pending.
  /// \throws CancelledError     when cancelled.
  std::exception_ptr exception() const { return state_->look(); }
  /// Tornado 4's `exc_info`: an `exception_ptr` is what C++ has for Python's triple.
  std::exception_ptr exc_info() const { return exception(); }

  /// Completes the Future with a value: `set_result(value)`, or `set_result()` for `Future<void>`.
  ///
  /// \throws InvalidStateError  when it is done already.
  template <class U = T>
  void set_result(U&& value) const
    requires(!std::is_void_v<T>)
  {
    static_assert(std::is_constructible_v<T, U&&>,
                  "Future<T>::set_result takes what a T can be made of");
    if (done()) detail::StateBase::throw_already_done();
    if constexpr (std::is_constructible_v<T, U&&>) state_->emplace(std::forward<U>(value));
    state_->complete(detail::Status::value);
  }
  void set_result() const
    requires(std::is_void_v<T>)
  {
    if (done()) detail::StateBase::throw_already_done();
    state_->complete(detail::Status::value);
  }

  /// Fails the Future.
  ///
  /// \param error  what `result()` will throw: an exception object, or a `std::exception_ptr`.
  /// \throws InvalidStateError      when it is done already.
  /// \throws std::invalid_argument  when the pointer is null.
  template <class E>
  void set_exception(E&& error) const {
    if constexpr (std::is_same_v<std::decay_t<E>, std::exception_ptr>) {
      detail::set_exception(*state_, std::forward<E>(error));
    } else {
      detail::set_exception(*state_, std::make_exception_ptr(std::forward<E>(error)));
    }
  }
  /// Tornado 4's `set_exc_info`.
  void set_exc_info(std::exception_ptr error) const { set_exception(std::move(error)); }

  /// Asks for the end of what this Future stands for. Python: `asyncio.Future.cancel`.
  ///
  /// With no coroutine behind it the Future is cancelled at once. A coroutine is asked at what it
  /// waits for: that wait ends with CancelledError, which the coroutine may clean up after; only
  /// when it has ended so is the Future cancelled. If what it waits for is complete already, that
  /// result is delivered first, and the next wait ends.
  ///
  /// \returns  false when the Future was done already.
  bool cancel() const noexcept { return state_->cancel(); }

  /// Calls `callback(future)`, or `callback()`, once this is done; soon, if it is done already;
  /// never from inside this call. An exception from it is logged, and the other callbacks still
  /// run. A callback that is a coroutine is kept alive until it ends.
  template <class F>
  void add_done_callback(F&& callback) const;

 private:
  friend detail::Access;
  explicit Future(detail::Ref<detail::State<T>> state) noexcept : state_(std::move(state)) {}

  detail::Ref<detail::State<T>> state_;
};

/// Only an error message.
template <class T>
  requires detail::bad_value<T>
class Future<T> {
 public:
  using promise_type = detail::RefusedPromise<Future>;
  static_assert(!detail::bad_value<T>,
                "Future<T> holds a value: T may not be a reference, an array, a function, const or "
                "volatile. Use a pointer or std::reference_wrapper instead.");
};

/// Python: `tornado.concurrent.is_future`.
template <class T>
constexpr bool is_future(const T&) noexcept {
  return detail::is_future<T>;
}

/// A Future that is done, with `value`.
template <class T>
Future<std::decay_t<T>> make_ready_future(T&& value) {
  Future<std::decay_t<T>> future;
  future.set_result(std::forward<T>(value));
  return future;
}
/// A Future that is done.
inline Future<void> make_ready_future() {
  Future<void> future;
  future.set_result();
  return future;
}
/// A Future that has failed with `error`.
template <class T = void>
Future<T> make_exception_future(std::exception_ptr error) {
  Future<T> future;
  future.set_exception(std::move(error));
  return future;
}

/// Calls `callback(future)` when `future` is done: at once, inside this call, when it is done
/// already, which is how it differs from the member. Python: `future_add_done_callback`.
template <class T, class F>
void future_add_done_callback(const Future<T>& future, F&& callback);

/// Sets the result unless `future` is done (Python says: unless cancelled, and fails otherwise).
/// Python: `future_set_result_unless_cancelled`.
///
/// \throws InvalidStateError  when it is done and was not cancelled.
template <class T, class... U>
void future_set_result_unless_cancelled(const Future<T>& future, U&&... value) {
  if (!future.cancelled()) future.set_result(std::forward<U>(value)...);
}

/// Fails `future`, or logs the error where it was cancelled already, so that it is not lost.
/// Python: `future_set_exception_unless_cancelled`.
///
/// \throws InvalidStateError  when it is done and was not cancelled.
template <class T>
void future_set_exception_unless_cancelled(const Future<T>& future, std::exception_ptr error) {
  if (future.cancelled()) {
    detail::log_error_after_cancel(error);
  } else {
    future.set_exception(std::move(error));
  }
}

/// The same. Python: `future_set_exc_info`, Tornado 5's name.
template <class T>
void future_set_exc_info(const Future<T>& future, std::exception_ptr error) {
  future_set_exception_unless_cancelled(future, std::move(error));
}

/// Gives `target` the result of `source` when that is done: its value, error or cancellation.
/// Does nothing if `target` is done by then. Python: `chain_future`.
template <class T>
void chain_future(const Future<T>& source, const Future<T>& target);

/// Completes a Future from any thread.
///
///     RemotePromise<int> promise;
///     Future<int> answer = promise.get_future();
///     std::thread([p = std::move(promise)]() mutable { p.set_result(compute()); }).detach();
///     int n = co_await answer;
///
/// Made, and `get_future` called, on the thread of the loop to which the Future belongs. Move-only,
/// and usable once. Dropped unset it fails its Future with `std::future_error` (broken promise).
/// When the loop has been closed meanwhile, the result is dropped quietly.
template <class T = void>
class RemotePromise {
 public:
  /// Belongs to `IOLoop::current()`.
  RemotePromise();
  RemotePromise(RemotePromise&& other) noexcept;
  RemotePromise& operator=(RemotePromise&& other) noexcept;
  ~RemotePromise();

  /// The Future that this completes. On the loop's thread, before the promise is used.
  ///
  /// \throws InvalidStateError  when the promise was used or moved from.
  Future<T> get_future() const;

  /// Completes the Future, from any thread.
  ///
  /// \throws InvalidStateError  when the promise was used or moved from.
  template <class... U>
  void set_result(U&&... value);
  /// Fails the Future, from any thread.
  ///
  /// \throws InvalidStateError      when the promise was used or moved from.
  /// \throws std::invalid_argument  when the pointer is null.
  void set_exception(std::exception_ptr error);

 private:
  class Cell;
  Cell* cell();

  Cell* cell_;
};

/// Runs functions elsewhere: on threads of its own, usually. Python: `concurrent.futures.Executor`.
///
/// `submit` is called on a loop's thread; it may be called by several.
class TORNADO_EXPORT Executor {
 public:
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor();

  /// Calls `f(args...)` there, with copies of the arguments.
  ///
  /// \returns  its result, for this thread's loop.
  /// \throws std::runtime_error  when the executor has been shut down.
  /// \par Fails with
  ///   what the function throws; `std::future_error` (broken promise) when the executor never calls
  ///   it.
  ///
  /// Cancelling it only takes the waiting back: the function still runs, what it returns is
  /// dropped, and an error is logged.
  template <class F, class... Args>
  auto submit(F&& f, Args&&... args);

 protected:
  /// One call, to be made once. Destroying it without that fails its Future.
  class TORNADO_EXPORT Work {
   public:
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    virtual ~Work();
    virtual void run() noexcept = 0;

   protected:
    Work();
  };
  Executor();

 private:
  template <class Bound>
  class BoundWork;
  /// Has `work` run, on any thread.
  virtual void execute(std::unique_ptr<Work> work) = 0;
};

/// Runs what it is given at once, inside `submit`: its Futures are done. Python: `dummy_executor`,
/// for which there is the function of that name.
class TORNADO_EXPORT DummyExecutor final : public Executor {
 public:
  DummyExecutor();
  ~DummyExecutor() override;
  /// As Executor::submit, but done already.
  template <class F, class... Args>
  auto submit(F&& f, Args&&... args);

 private:
  void execute(std::unique_ptr<Work> work) override;
};
TORNADO_EXPORT DummyExecutor& dummy_executor();

/// Threads that run functions in the order in which they come.
/// Python: `concurrent.futures.ThreadPoolExecutor`.
class TORNADO_EXPORT ThreadPoolExecutor final : public Executor {
 public:
  /// \param max_workers  threads; they are started at once.
  /// \throws std::invalid_argument  when that is zero.
  explicit ThreadPoolExecutor(std::size_t max_workers);
  /// As `shutdown()`.
  ~ThreadPoolExecutor() override;

  /// Takes no more functions, and waits until those it has have run. Not on one of its threads.
  void shutdown();

 private:
  class Pool;
  void execute(std::unique_ptr<Work> work) override;
  std::shared_ptr<Pool> pool_;
};

/// `executor.submit(f, args...)`. Python: `run_on_executor`, there a decorator.
template <std::derived_from<Executor> E, class F, class... Args>
auto run_on_executor(E& executor, F&& f, Args&&... args) {
  return executor.submit(std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace tornado

#include "tornado/detail/concurrent_inl.hpp"
