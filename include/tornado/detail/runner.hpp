// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/runner.hpp: the parts of a coroutine's promise, and of what it waits on, that do
// not depend on types.
#pragma once

#include "tornado/detail/context.hpp"
#include "tornado/detail/timer.hpp"

#include <coroutine>
#include <cstdint>
#include <source_location>
#include <string>
#include <utility>

namespace tornado::detail {

class Awaiter;
class RunnerBase;

/// The line of a co_await, and its coroutine.
using Where = std::source_location;

/// A coroutine that has been suspended, as the loop knows it: from then on it is in the loop's
/// list, so that nothing suspended is lost when the loop closes. Part of the promise, but made only
/// when that happens: many coroutines never wait.
class TORNADO_EXPORT Suspension final : public Hook, public Origin {
 public:
  explicit Suspension(RunnerBase& runner) noexcept
      : runner_(runner), number_(++per_thread().suspensions) {}

  Answer cancel_requested(StateBase& state) noexcept override;
  bool collect_frames(std::vector<Suspension*>& frames) const override;

  /// Destroys the frame, which must be suspended; the Future is abandoned.
  void destroy_frame() noexcept;
  /// Destroys the frame, with those of the coroutines that it alone waits for. Does nothing when
  /// one of them runs now.
  void destroy_with_awaited() noexcept;
  bool suspended() const noexcept { return frame_ != nullptr; }
  /// The Future that it waits for; null when it runs, or waits for something else.
  StateBase* awaited() const noexcept;
  /// Whether the call that made this one came after that of `other`.
  bool called_after(const Suspension& other) const noexcept;

  /// It has stopped, `frame` being its handle's address.
  void stop(void* frame) noexcept;
  /// Resumes it. It may be gone when this returns.
  void go_on() noexcept;

  std::string describe() const override;
  /// What it waits for, for people.
  std::string describe_wait() const;
  std::uint64_t number() const noexcept { return number_; }

  bool cancel_wanted = false;  // asked for, but not met yet
  Where where;                 // it waits, or waited last

 private:
  friend class Awaiter;
  /// Passes a request to cancel on. Returns who is to be asked next, or null: not by a call, since
  /// the chain of those that wait for each other may be long.
  Suspension* ask() noexcept;

  RunnerBase& runner_;
  const std::uint64_t number_;
  void* frame_ = nullptr;  // while it is suspended
  Awaiter* waiting_ = nullptr;
  LoopCore* loop_ = nullptr;
};

/// The promise of every coroutine, but for what depends on types.
class TORNADO_EXPORT RunnerBase {
 public:
  // g++ 12.0 to 12.2 lays out some frames wrongly: promise and resume pointer are then a word off
  // (GCC PR106188). Resuming such a frame would jump anywhere; this word tells beforehand.
  static constexpr std::uint32_t good_frame = 0x746f726e;
  std::uint32_t frame_check = good_frame;

  /// The promise of a coroutine that suspends; ends the program if it is none.
  template <class Promise>
  static Promise& checked(std::coroutine_handle<Promise> handle) {
    Promise& runner = handle.promise();
    if (runner.frame_check != good_frame) broken_frame();
    return runner;
  }

  RunnerBase(const RunnerBase&) = delete;
  RunnerBase& operator=(const RunnerBase&) = delete;

 protected:
  // Of a coroutine that never waits the compiler sees everything, and g++ then merges most of it
  // with the caller: no call of a function that is compiled elsewhere may be in its way.
  RunnerBase() noexcept {  // the derived class sets state_
    per_thread().context_noted = true;
  }
  ~RunnerBase() {
    if (flags_ != finished) clean_up();
  }

  /// What is needed to suspend; made at the first call.
  Suspension& suspension() noexcept {
    if ((flags_ & suspends) == 0) begin_to_suspend();
    return suspension_;
  }
  /// After the locals are gone: tells the Future what return_value or unhandled_exception left.
  void finish(StateBase& state) noexcept {
    if (flags_ != 0 || per_thread().context != context_) {
      finish_with_more(state);
    } else {
      state.set_ready();  // nobody has the Future yet
    }
    flags_ |= finished;
  }
  void store_exception(StateBase& state) noexcept;

  enum Flags : std::uint8_t {
    finished = 1,
    suspends = 2,         // suspension_ is there
    failed = 4,           // the outcome is an error
    cancelled = 8,        // the outcome is a cancellation
    state_is_apart = 16,  // not in this block
    holds_context = 32
  };
  std::uint8_t flags_ = 0;
  StateBase* state_;  // of which this is the origin; null in a generator

 private:
  friend class Awaiter;
  friend class Suspension;
  void leave_context() noexcept;
  void enter_context() noexcept;
  void begin_to_suspend() noexcept;
  void finish_with_more(StateBase& state) noexcept;
  void clean_up() noexcept;
  [[noreturn]] static void broken_frame() noexcept;

  // How many coroutines of this thread had been suspended when it was called: what it calls itself
  // has the same number, or a greater one, and is suspended before it if at all.
  const std::uint64_t called_at_ = per_thread().suspensions;
  // Its own while it is suspended, else that of who called or resumed it; held from the first
  // suspension on.
  Context* context_ = per_thread().context;
  union {
    Suspension suspension_;
  };
};

/// What a suspended coroutine waits on. Lives in its frame, as every awaiter does.
class TORNADO_EXPORT Awaiter : public Node {
 public:
  /// Ends the wait with CancelledError. Without effect, and false, when what it waits for has
  /// happened already: then that is delivered.
  bool cancel() noexcept;

  /// Who waits, if `node` is an Awaiter; else null.
  static const Suspension* waiter_of(const Node& node) noexcept;

 protected:
  Awaiter() noexcept : Node(node_type<&resume, Kind::awaiter>) {}
  ~Awaiter() = default;

  /// For await_suspend: resumes when `target` is done.
  template <class Promise>
  void wait_for(std::coroutine_handle<Promise> handle, StateBase& target, const Where& where) {
    prepare(RunnerBase::checked(handle), where);
    target_ = &target;
    target.add_waiter(*this);
    suspended(handle.address());
  }
  /// For DeadlineAwaiter's await_suspend: resumes when `target`, if there is one, is done, or when
  /// the time of its timer, `timer`, has come.
  template <class Promise>
  void wait_until(std::coroutine_handle<Promise> handle, StateBase* target, TimerNode& timer,
                  const Where& where) {
    prepare(RunnerBase::checked(handle), where);
    target_ = target;
    has_timer_ = true;
    timer.start();
    if (target != nullptr) target->add_waiter(*this);
    suspended(handle.address());
  }
  /// For the timer given to wait_until: its time has come.
  void timed_out() noexcept;
  /// For await_suspend: resumes in the loop's next iteration.
  template <class Promise>
  void wait_for_iteration(std::coroutine_handle<Promise> handle, const Where& where) {
    prepare(RunnerBase::checked(handle), where);
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

  void prepare(RunnerBase& runner, const Where& where);
  /// A request to cancel that came before is met now.
  void suspended(void* frame) noexcept;

 private:
  friend class Suspension;

  /// One step of cancel(); where another coroutine is to be asked, `next` is that.
  bool ask(Suspension*& next) noexcept;
  void queue_for_iteration();
  TimerNode& timer() noexcept;
  static void resume(Node* node, Event event) noexcept;
  [[noreturn]] static void throw_cancelled();

  bool cancelled_ = false;
  bool has_timer_ = false;  // it is a DeadlineAwaiter
  bool timed_out_ = false;
  bool asked_target_ = false;  // to cancel: if it could not, the request is the waiter's again
  Suspension* waiter_ = nullptr;
  StateBase* target_ = nullptr;
};

}  // namespace tornado::detail
