// SPDX-License-Identifier: Apache-2.0
//
// tornado/ioloop.hpp: the loop that runs everything.
//
// An IOLoop belongs to the thread that runs it. From other threads call only what says so:
// add_callback, add_callback_from_signal, stop through add_callback, submit.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/detail/chrono.hpp"
#include "tornado/detail/functional.hpp"
#include "tornado/detail/timer.hpp"
#include "tornado/util.hpp"

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tornado {

class IOLoop;

namespace detail {

struct AsioContext;

class TORNADO_EXPORT SyncCall {
 public:
  virtual ~SyncCall();
  virtual void begin_and_stop(IOLoop& loop) = 0;
  /// What the call returned; null before it was made.
  virtual StateBase* state() const noexcept = 0;

  bool wanted = true;  // until run_sync gives up, or has the result
};

/// Makes a loop the current one for a scope, though it does not run.
class TORNADO_EXPORT AsCurrent {
 public:
  /// \throws std::logic_error  when another loop runs on this thread.
  explicit AsCurrent(IOLoop& loop);
  ~AsCurrent();
  AsCurrent(const AsCurrent&) = delete;
  AsCurrent& operator=(const AsCurrent&) = delete;

 private:
  IOLoop* previous_;
  std::uint64_t previous_number_;
};

/// An object with a descriptor that can be closed, such as a Socket.
template <class T>
concept Selectable = requires(const T& object) {
  { object.native_handle() } -> std::convertible_to<native_handle_type>;
} && requires(T& object) { object.close(); };

}  // namespace detail

/// A timeout that was scheduled: what `remove_timeout` takes. A handle; copies mean the same
/// timeout. Dropping it does not remove the timeout. Default-constructed it means none.
class Timeout {
 public:
  Timeout() noexcept = default;
  /// It means a timeout, which may have run.
  explicit operator bool() const noexcept { return static_cast<bool>(node_); }

 private:
  friend class IOLoop;
  explicit Timeout(detail::Ref<detail::SharedTimer> node) noexcept : node_(std::move(node)) {}
  detail::Ref<detail::SharedTimer> node_;
};

/// The event loop. Python: `tornado.ioloop.IOLoop`.
///
///     IOLoop::current().run_sync([]() -> Future<void> {
///       co_await gen::sleep(1s);
///       fmt::print("a second later\n");
///     });
///
/// Adapts an `asio::io_context`, which `get_io_context` in <tornado/asio.hpp> gives, and which
/// polls by epoll, kqueue or what else Asio offers; `make_ioloop` there makes a loop on a context
/// of the program's own. What it adds is Tornado's order of things: callbacks run one after the
/// other, none inside another; after those of an iteration the coroutines whose waiting is over go
/// on; then what was written to streams is sent.
class TORNADO_EXPORT IOLoop {
 public:
  using Clock = std::chrono::steady_clock;

  /// Whether a new loop becomes its thread's current one.
  enum class MakeCurrent {
    if_none,  // when there is none yet: Python's default
    always,
    never,
  };

  /// \throws std::system_error  when the system has no descriptors left.
  explicit IOLoop(MakeCurrent make_current = MakeCurrent::if_none);

  /// Closes the loop. Not from inside one of its own callbacks: that ends the program, with a
  /// message, since the callback's caller would be gone.
  ~IOLoop();

  IOLoop(const IOLoop&) = delete;
  IOLoop& operator=(const IOLoop&) = delete;

  /// The loop that runs now, or this thread's current one; makes one, which is closed when the
  /// thread ends, if there is none. From any thread.
  static IOLoop& current();
  /// As `current`, but null if there is none. Python: `IOLoop.current(instance=False)`.
  static IOLoop* current_or_null() noexcept;
  /// Tornado 4's name for the main loop; means `current()`, as since Tornado 5.
  static IOLoop& instance() { return current(); }
  /// Makes this loop the thread's current one.
  void make_current() noexcept;
  /// Leaves the thread without a current loop. Harmless when it has none. A loop that `current()`
  /// made is closed by this.
  ///
  /// \throws std::logic_error  inside a running loop.
  static void clear_current();

  /// Chooses what the system is asked with. Which that can be is settled when the library and Asio
  /// are built: one, so this is for programs that insist. Takes "epoll", "select" and so on, the
  /// names of Tornado's classes ("tornado.platform.epoll.EPollIOLoop", with or without the
  /// modules), and those of its asyncio loops, which mean the one there is.
  ///
  /// \throws std::invalid_argument  when the library was built without it; says what there is.
  static void configure(std::string_view reactor);
  /// The reactor in use: "epoll", "select", "io_uring", "kqueue", "devpoll" or "iocp".
  static std::string_view configured_class() noexcept { return configurable_default(); }
  /// The one in use without `configure`, which is the same.
  static std::string_view configurable_default() noexcept;
  /// What is configured: "IOLoop".
  static std::string_view configurable_base() noexcept { return "IOLoop"; }

  /// Runs the loop until `stop`. Blocks also when nothing is pending.
  ///
  /// \throws std::logic_error  when it runs already, or another loop runs on this thread, or it has
  ///                           been closed.
  void start();
  /// Makes `start` return when the callbacks of this iteration have run; if it does not run, the
  /// next `start` returns at once. From another thread: `add_callback` it.
  void stop();

  /// Destroys what is left in the loop: suspended coroutines, in reverse order of the calls that
  /// made them, with their locals; callbacks and timeouts, which do not run; open streams. Futures
  /// that depend on them are cancelled. A second close does nothing.
  ///
  /// \param all_fds  also closes the descriptors that `add_handler` watches.
  /// \throws std::logic_error  inside a callback of this loop.
  void close(bool all_fds = false);

  /// Runs the loop until the Future that `f()` returns is done, and returns its result; a plain
  /// value is returned as it is.
  ///
  /// \param timeout  longest time; none means for ever.
  /// \throws TimeoutError      when `timeout` passes; what `f` began is cancelled.
  /// \throws std::logic_error  when the loop is stopped before, or runs already.
  /// \throws                   what `f` throws, or its Future fails with.
  template <class F>
  auto run_sync(F&& f, std::optional<Deadline> timeout = std::nullopt);

  /// Calls `callback(args...)` in the next iteration. From any thread.
  ///
  /// Callbacks added by one thread run in the order in which they were added. If the callback is a
  /// coroutine, it is kept alive until it ends. An exception from it, or from its Future, is
  /// logged. On a closed loop nothing happens.
  template <class F, class... Args>
  void add_callback(F&& callback, Args&&... args) {
    add_job(detail::make_job(std::forward<F>(callback), std::forward<Args>(args)...));
  }
  /// As `add_callback`. Python: the coroutine's result is not waited for by anyone.
  template <class F, class... Args>
  void spawn_callback(F&& callback, Args&&... args) {
    add_callback(std::forward<F>(callback), std::forward<Args>(args)...);
  }
  /// Calls `callback(argument)` in the next iteration. From a signal handler, or any thread: takes
  /// no lock and no memory.
  ///
  /// \returns  false, and the callback is lost, when 256 of them wait already.
  bool add_callback_from_signal(void (*callback)(void*), void* argument = nullptr) noexcept;

  /// Calls `callback(future)` when `future` is done. Unlike `Future::add_done_callback`, keeps
  /// `future` until then. Python: `IOLoop.add_future`.
  template <class T, class F>
  void add_future(const Future<T>& future, F&& callback);

  /// Calls `callback(signo)`, or `callback()`, on the loop's thread when the process gets a signal.
  /// Python: `asyncio`'s method of that name.
  ///
  /// Once added it replaces what was to happen with that signal, until it is removed. Another
  /// handler of this loop for the same signal is replaced, too. System calls that the signal
  /// interrupts go on (SA_RESTART). Signals that come again before the callback was called are one
  /// call. If the callback is a coroutine, it is kept alive until it ends.
  ///
  /// \throws std::invalid_argument  when there is no such signal.
  /// \throws std::logic_error       when another loop of the process handles it.
  /// \throws std::system_error      when it cannot be handled: SIGKILL, SIGSTOP.
  template <class F>
  void add_signal_handler(int signo, F&& callback);
  /// After this the callback is not called, and the signal does what it did before the handler was
  /// added: unless the program has arranged for something else meanwhile, which stays. `close` does
  /// this for all handlers, and a fork for the child.
  ///
  /// \returns  false when there was no handler.
  bool remove_signal_handler(int signo) noexcept;

  /// Calls `f(args...)` on one of the threads of `executor`, with copies of the arguments, and
  /// gives this loop its result. On the loop's thread.
  ///
  /// \param executor  null for the default one: unless `set_default_executor` says otherwise, five
  ///                  threads for each processor, started when they are needed. They end with the
  ///                  loop. `close` does not wait for them: functions that have not begun never
  ///                  will; those that run do so to the end, which the end of the program waits
  ///                  for. What they return then is dropped.
  /// \throws std::logic_error    when the loop has been closed, or another one runs here.
  /// \throws std::runtime_error  when the executor has been shut down.
  /// \par Fails with
  ///   what `Executor::submit` fails with.
  template <class F, class... Args>
  auto run_in_executor(Executor* executor, F&& f, Args&&... args);
  template <class F, class... Args>
  auto run_in_executor(Executor& executor, F&& f, Args&&... args) {
    return run_in_executor(&executor, std::forward<F>(f), std::forward<Args>(args)...);
  }
  /// Replaces the default executor. The loop lets go of it when it is closed: a ThreadPoolExecutor
  /// that nobody else holds then waits for its functions.
  ///
  /// \param executor  null for the usual one.
  void set_default_executor(std::shared_ptr<Executor> executor) noexcept;

  /// Calls `f(args...)` on the loop, for a thread that has none, and gives that thread the result:
  /// of a coroutine, what its Future ends with. From any thread but the loop's own, which would
  /// wait for itself. Fails with `std::future_error` (broken promise) when the loop is closed
  /// first. The result is a `std::future`; this needs `#include <tornado/submit.hpp>`.
  template <class F, class... Args>
  auto submit(F&& f, Args&&... args);

  /// Calls `callback(args...)` after `delay` seconds: below or at zero, in the next iteration.
  /// Callbacks with the same deadline run in the order in which they were added.
  ///
  /// \throws std::invalid_argument  when `delay` is not a number.
  template <class F, class... Args>
  Timeout call_later(double delay, F&& callback, Args&&... args) {
    return call_at_point(Deadline(std::chrono::duration<double>(delay)), std::forward<F>(callback),
                         std::forward<Args>(args)...);
  }
  template <class Rep, class Period, class F, class... Args>
  Timeout call_later(std::chrono::duration<Rep, Period> delay, F&& callback, Args&&... args) {
    return call_at_point(Deadline(delay), std::forward<F>(callback), std::forward<Args>(args)...);
  }
  /// Calls `callback(args...)` at a time on `time()`'s clock, in seconds, or at a time_point.
  ///
  /// \throws std::invalid_argument  when `when` is not a number.
  template <class F, class... Args>
  Timeout call_at(double when, F&& callback, Args&&... args) {
    return call_at_point(deadline_at(when), std::forward<F>(callback), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
  Timeout call_at(Clock::time_point when, F&& callback, Args&&... args) {
    return call_at_point(Deadline(when), std::forward<F>(callback), std::forward<Args>(args)...);
  }
  /// Calls `callback(args...)` at `deadline`: a duration from now, or a time_point.
  template <class F, class... Args>
  Timeout add_timeout(Deadline deadline, F&& callback, Args&&... args) {
    return call_at_point(deadline, std::forward<F>(callback), std::forward<Args>(args)...);
  }
  /// After this the timeout does not run. Harmless when it has run, or was removed.
  void remove_timeout(const Timeout& timeout) noexcept;

  /// Seconds on a monotonic clock, std::chrono::steady_clock. Differs from Python, where it is the
  /// wall clock unless asyncio says otherwise.
  double time() const noexcept;

  /// Events of a descriptor, to be combined with `|`.
  static constexpr int NONE = 0;
  static constexpr int READ = 0x001;
  static constexpr int WRITE = 0x004;
#ifndef ERROR  // a macro of <windows.h>
  static constexpr int ERROR = 0x018;
#endif
  static constexpr int ERROR_EVENT = 0x018;

  /// Called with the descriptor and the events that came.
  using Handler = std::function<void(native_handle_type fd, int events)>;

  /// Calls `handler` whenever one of `events` can be done on `fd`, again and again until it is no
  /// more so (level-triggered); ERROR always counts. The descriptor stays the caller's, who removes
  /// the handler before closing it.
  ///
  /// \throws std::invalid_argument  when `fd` has a handler already, or `handler` is empty.
  /// \throws std::system_error      when the system cannot poll it: a regular file, or none at all.
  void add_handler(native_handle_type fd, Handler handler, int events);
  /// Changes the events that are waited for.
  ///
  /// \throws std::invalid_argument  when `fd` has no handler.
  void update_handler(native_handle_type fd, int events);
  /// After this the handler is not called, not even for events that came already. Harmless when
  /// there is none.
  void remove_handler(native_handle_type fd) noexcept;

  /// The same for an object that has a descriptor, such as a Socket: calls
  /// `handler(object, events)`, and `close(true)` closes the object. It stays where it is until the
  /// handler is removed, by the object or by its descriptor.
  template <detail::Selectable T, class F>
  void add_handler(T& object, F&& handler, int events);
  template <detail::Selectable T>
  void update_handler(const T& object, int events) {
    update_handler(object.native_handle(), events);
  }
  template <detail::Selectable T>
  void remove_handler(const T& object) noexcept {
    remove_handler(object.native_handle());
  }

  /// A descriptor, and what it came from: for code that takes both kinds, as `add_handler` does.
  static std::pair<native_handle_type, native_handle_type> split_fd(
      native_handle_type fd) noexcept {
    return {fd, fd};
  }
  template <detail::Selectable T>
  static std::pair<native_handle_type, T&> split_fd(T& object) {
    return {object.native_handle(), object};
  }
  /// Closes either kind, as `close(true)` does; errors are ignored.
  static void close_fd(native_handle_type fd) noexcept;
  template <detail::Selectable T>
  static void close_fd(T& object) {
    try {
      object.close();
    } catch (const std::system_error&) {
    }
  }

  /// Called with exceptions that escape callbacks, or the coroutines that callbacks are, instead of
  /// a log line. An empty function brings the log line back. Tornado 4:
  /// `handle_callback_exception`.
  void set_exception_handler(std::function<void(std::exception_ptr)> handler);

 private:
  friend class detail::LoopCore;
  friend class detail::AsCurrent;
  using SignalJob = std::function<detail::Node*(int signo)>;

  IOLoop(const detail::AsioContext& context, MakeCurrent make_current);
  void add_job(detail::Node* job);
  void set_signal_handler(int signo, SignalJob make_job);
  Executor& executor_or_default(Executor* executor);
  void add_object_handler(native_handle_type fd, Handler handler, int events,
                          std::function<void()> close_object);
  static Deadline deadline_at(double when);
  Timeout schedule(detail::SharedTimer* timer);
  void run_call(const std::shared_ptr<detail::SyncCall>& call,
                const std::optional<Deadline>& timeout);

  template <class F, class... Args>
  Timeout call_at_point(Deadline deadline, F&& callback, Args&&... args) {
    auto bound = detail::bind_callback(std::forward<F>(callback), std::forward<Args>(args)...);
    return schedule(
        detail::CallbackTimer<decltype(bound)>::create(deadline.when(), std::move(bound)));
  }

  std::shared_ptr<detail::LoopCore> core_;
  std::uint64_t number_;  // never given to another loop
  std::shared_ptr<Executor> default_executor_;
};

namespace detail {

/// What a PeriodicCallback shares with its timer and its running callback.
class TORNADO_EXPORT PeriodicCore : public std::enable_shared_from_this<PeriodicCore> {
 public:
  using TimePoint = IOLoop::Clock::time_point;
  using Duration = IOLoop::Clock::duration;

  PeriodicCore(std::chrono::duration<double> period, double jitter);
  virtual ~PeriodicCore();

  void start();
  void stop() noexcept;
  bool is_running() const noexcept { return running_; }

 private:
  /// Calls the callback; the state of the Future that it returned, or null.
  virtual Ref<StateBase> call() = 0;

  class InCallback;
  static Future<void> run(std::shared_ptr<PeriodicCore> self);
  void schedule_next();

  const Duration period_;
  const double jitter_;
  TimePoint next_;
  std::shared_ptr<LoopCore> core_;
  Timeout timeout_;
  bool running_ = false;
  bool in_callback_ = false;
};

/// A period with jitter: `random` is from 0 to 1. Never less than the clock's unit.
TORNADO_EXPORT PeriodicCore::Duration jittered(PeriodicCore::Duration period, double jitter,
                                               double random) noexcept;
/// When the callback is due next, having been due at `last`; `interval` is positive.
TORNADO_EXPORT PeriodicCore::TimePoint next_tick(PeriodicCore::TimePoint last,
                                                 PeriodicCore::TimePoint now,
                                                 PeriodicCore::Duration interval) noexcept;

}  // namespace detail

/// Calls a callback again and again. Python: `tornado.ioloop.PeriodicCallback`.
///
///     PeriodicCallback beat([] { log::info("alive"); }, 10s);
///     beat.start();
///
/// The calls lie on a grid that begins with `start`: how long the callback takes does not shift
/// them. A callback that takes longer than the period misses ticks, and is called next at one that
/// is still to come. When the callback is a coroutine, the next call waits for its end; its error
/// is logged, as any callback's, and the calls go on.
///
/// Belongs to the thread of the loop on which it was started. Destroying it stops it; a coroutine
/// that it began goes on, and its callback is kept until then.
class TORNADO_EXPORT PeriodicCallback {
 public:
  /// \param period  from one call to the next; Python's number is in milliseconds.
  /// \param jitter  spreads each interval evenly over `period * (1 - jitter / 2)` to
  ///                `period * (1 + jitter / 2)`; 0 for none, below 2.
  /// \throws std::invalid_argument  when `period` is not above zero, or `jitter` not in its range.
  template <class F, class Rep, class Period>
  PeriodicCallback(F&& callback, std::chrono::duration<Rep, Period> period, double jitter = 0);
  ~PeriodicCallback();
  PeriodicCallback(const PeriodicCallback&) = delete;
  PeriodicCallback& operator=(const PeriodicCallback&) = delete;

  /// Begins: the first call comes after one period, on `IOLoop::current()`. Does nothing when it
  /// runs already. While a coroutine of an earlier call runs, calls begin after its end.
  void start();
  /// Ends the calls. A coroutine that the last one began is not cancelled. Does nothing when it
  /// does not run.
  void stop() noexcept;
  /// Between `start` and `stop`.
  bool is_running() const noexcept;

 private:
  std::shared_ptr<detail::PeriodicCore> core_;
};

}  // namespace tornado

#include "tornado/detail/ioloop_inl.hpp"
