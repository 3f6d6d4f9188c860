// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/runner.hpp: the parts of a coroutine's promise, and of what it waits on, that do
// not depend on types.
#pragma once

#include "tornado/detail/context.hpp"
#include "tornado/detail/timer.hpp"

#include <coroutine>
#include <cstdint>
#include <utility>

namespace tornado::detail {

class Awaiter;

/// The promise of every coroutine, as the loop knows it. From its first suspension on it is in the
/// loop's list of frames, so that nothing suspended is lost when the loop closes.
class TORNADO_EXPORT RunnerBase : public Hook, public Origin {
 public:
  Answer cancel_requested(StateBase& state) noexcept override;
  bool collect_frames(std::vector<RunnerBase*>& frames) const override;

  /// Destroys the frame, which must be suspended; the Future is abandoned.
  void destroy_frame() noexcept;
  /// Destroys the frame, with those of the coroutines that it alone waits for. Does nothing when
  /// one of them runs now.
  void destroy_with_awaited() noexcept;
  bool suspended() const noexcept { return frame_ != nullptr; }
  /// The Future that it waits for; null when it runs, or waits for something else.
  StateBase* awaited() const noexcept;
  /// Frames are numbered in the order of the calls that made them.
  std::uint64_t number() const noexcept { return number_; }

  // g++ 12.0 to 12.2 lays out some frames wrongly: promise and resume pointer are then a word off
  // (GCC PR106188). Resuming such a frame would jump anywhere; this word tells beforehand.
  static constexpr std::uint64_t good_frame = 0x746f726e61646f21;
  std::uint64_t frame_check = good_frame;

  /// The promise of a coroutine that suspends; ends the program if it is none.
  template <class Promise>
#if defined(__GNUC__) && !defined(__clang__)
  [[gnu::no_sanitize("vptr")]]  // looks at what may be no promise
#endif
  static Promise&
  checked(std::coroutine_handle<Promise> handle) {
    Promise& runner = handle.promise();
    if (runner.frame_check != good_frame) broken_frame();
    return runner;
  }

 protected:
  RunnerBase() noexcept {}
  ~RunnerBase() = default;

  /// After the locals are gone: tells the Future what return_value or unhandled_exception left.
  void finish(StateBase& state) noexcept {
    context_.swap();
    state.cancel_unmet = cancel_requested_;
    state.complete(outcome_);
  }
  /// Notes that the coroutine has stopped, `frame` being its handle's address.
  void stopped(void* frame) noexcept {
    frame_ = frame;
    context_.swap();
  }
  /// Goes on with a coroutine that has stopped. It may be gone when this returns.
  void go_on() noexcept {
    waiting_ = nullptr;
    context_.swap();
    std::coroutine_handle<>::from_address(std::exchange(frame_, nullptr)).resume();
  }
  void store_exception(StateBase& state) noexcept;

  Status outcome_ = Status::value;
  bool cancel_requested_ = false;
  std::uint64_t number_ = 0;
  void* frame_ = nullptr;  // the handle's address while it is suspended

 private:
  friend class Awaiter;
  [[noreturn]] static void broken_frame() noexcept;

  Awaiter* waiting_ = nullptr;
  LoopCore* loop_ = nullptr;
  ContextRef context_;  // its own while it is suspended, else that of who called or resumed it
};

/// What a suspended coroutine waits on. Lives in its frame, as every awaiter does.
class TORNADO_EXPORT Awaiter : public Node {
 public:
  /// Ends the wait with CancelledError. Without effect, and false, when what it waits for has
  /// happened already: then that is delivered.
  bool cancel() noexcept;

 protected:
  Awaiter() noexcept : Node(&resume, Kind::awaiter) {}
  ~Awaiter() = default;

  /// For await_suspend: resumes when `target` is done.
  template <class Promise>
  void wait_for(std::coroutine_handle<Promise> handle, StateBase& target) {
    prepare(RunnerBase::checked(handle));
    target_ = &target;
    target.add_waiter(*this);
    suspended(handle.address());
  }
  /// For await_suspend: resumes when `target`, if there is one, is done, or at `deadline`.
  template <class Promise>
  void wait_until(std::coroutine_handle<Promise> handle, StateBase* target, TimerNode& timer) {
    prepare(RunnerBase::checked(handle));
    target_ = target;
    timer_ = &timer;
    timer.start();
    if (target != nullptr) target->add_waiter(*this);
    suspended(handle.address());
  }
  /// For a timer given to wait_until: its time has come.
  void timed_out() noexcept;
  /// For await_suspend: resumes in the loop's next iteration.
  template <class Promise>
  void wait_for_iteration(std::coroutine_handle<Promise> handle) {
    prepare(RunnerBase::checked(handle));
    queue_for_iteration();
    suspended(handle.address());
  }
  /// Throws CancelledError when cancel() ended the wait.
  void check_cancelled() const {
    if (cancelled_) throw_cancelled();
  }
  /// The same for who does not look at the result: also when the target was asked, and is
  /// cancelled.
  void check_cancelled_quietly() const;
  /// A request to cancel was passed on to the target.
  bool asked_target() const noexcept { return asked_target_; }

  void prepare(RunnerBase& runner);
  /// A request to cancel that came before is met now.
  void suspended(void* frame) noexcept;

 private:
  friend class RunnerBase;

  void queue_for_iteration();
  static void resume(Node* node, Event event) noexcept;
  [[noreturn]] static void throw_cancelled();

  bool cancelled_ = false;
  bool timed_out_ = false;
  bool asked_target_ = false;  // to cancel: if it could not, the request is the waiter's again
  RunnerBase* runner_ = nullptr;
  StateBase* target_ = nullptr;
  TimerNode* timer_ = nullptr;
};

}  // namespace tornado::detail
