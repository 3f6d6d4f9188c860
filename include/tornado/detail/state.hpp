// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/state.hpp: what lies behind a Future, and what waits for one.
//
// Everything here belongs to one thread, the one that runs the loop, and is not synchronised.
// What can be compiled is in src/; these are the parts that templates need to see.
#pragma once

#include "tornado/detail/export.hpp"
#include "tornado/detail/memory.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace tornado {
template <class T>
class Future;
}  // namespace tornado

namespace tornado::detail {

class LoopCore;
class RunnerBase;
class StateBase;

/// A link in a circular list. Unlinks itself when destroyed, so whoever dies leaves its list.
class Hook {
 public:
  Hook() noexcept = default;
  ~Hook() { unlink(); }
  Hook(const Hook&) = delete;
  Hook& operator=(const Hook&) = delete;

  bool linked() const noexcept { return next_ != nullptr; }

  void unlink() noexcept {
    if (next_ == nullptr) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = nullptr;
  }

 private:
  template <class T>
  friend class List;

  Hook* prev_ = nullptr;
  Hook* next_ = nullptr;
};

/// A list of T, which derives from Hook. Owns nothing; what is left at the end is unlinked.
template <class T>
class List {
 public:
  List() noexcept { head_.prev_ = head_.next_ = &head_; }
  ~List() {
    while (!empty()) head_.next_->unlink();
    head_.next_ = nullptr;
  }
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  bool empty() const noexcept { return head_.next_ == &head_; }
  T& back() const noexcept { return *static_cast<T*>(head_.prev_); }
  void push_back(T& item) noexcept {
    Hook& hook = item;
    hook.prev_ = head_.prev_;
    hook.next_ = &head_;
    head_.prev_->next_ = &hook;
    head_.prev_ = &hook;
  }
  T* pop_front() noexcept {
    if (empty()) return nullptr;
    Hook* hook = head_.next_;
    hook->unlink();
    return static_cast<T*>(hook);
  }
  /// Appends all of `other`, which is left empty.
  void splice(List& other) noexcept {
    if (other.empty()) return;
    Hook* first = other.head_.next_;
    Hook* last = other.head_.prev_;
    other.head_.prev_ = other.head_.next_ = &other.head_;
    first->prev_ = head_.prev_;
    head_.prev_->next_ = first;
    last->next_ = &head_;
    head_.prev_ = last;
  }
  template <class F>
  void for_each(F f) const {
    for (Hook* hook = head_.next_; hook != &head_;) {
      Hook* next = hook->next_;
      f(*static_cast<T*>(hook));
      hook = next;
    }
  }

 private:
  Hook head_;
};

/// One thing for the loop to run: a coroutine to resume, a callback to call.
class Node : public Hook {
 public:
  enum class Event : std::uint8_t { run, drop };
  enum class Kind : std::uint8_t {
    awaiter,   // waits for a Future and holds it: counts as one of its waiters
    callback,  // waits for a Future and is held by it
    job,       // waits for nothing but its turn
  };
  using Function = void (*)(Node*, Event) noexcept;

  Node(Function function, Kind kind) noexcept : function_(function), kind_(kind) {}

  void handle(Event event) noexcept { function_(this, event); }
  Kind kind() const noexcept { return kind_; }

  /// The loop on which it runs; null until it waits for something.
  LoopCore* loop = nullptr;

 private:
  Function function_;

  Kind kind_;
};

/// What stands behind a pending Future and can be asked to give up: a coroutine, a timer, a read.
class TORNADO_EXPORT Origin {
 public:
  enum class Answer : std::uint8_t { ended, later };
  /// `ended`: nothing will be set any more, the caller marks the state cancelled.
  virtual Answer cancel_requested(StateBase& state) noexcept = 0;
  /// Appends the coroutines that are suspended behind it and that nobody else waits for. False when
  /// one of them runs now: those which wait for that must stay.
  virtual bool collect_frames(std::vector<RunnerBase*>& frames) const;

 protected:
  Origin() = default;
  Origin(const Origin&) = delete;
  Origin& operator=(const Origin&) = delete;
  ~Origin() = default;
};

enum class Status : std::uint8_t { pending, value, error, cancelled };

/// The part of a Future's state that does not depend on its type.
class TORNADO_EXPORT StateBase {
 public:
  StateBase(const StateBase&) = delete;
  StateBase& operator=(const StateBase&) = delete;

  void add_ref() noexcept { ++refs_; }
  void release() noexcept {
    if (drop_ref()) dispose();
  }
  bool unique() const noexcept { return refs_ == 1; }

  Status status() const noexcept { return status_; }
  bool done() const noexcept { return status_ != Status::pending; }

  /// Marks the state done and hands what waited to the loop. An error must be stored before.
  void complete(Status status) noexcept {
    status_ = status;
    origin = nullptr;
    if (!waiters.empty()) wake();
  }
  void fail(std::exception_ptr why) noexcept {
    error = std::move(why);
    complete(Status::error);
  }
  /// As cancel(), but without asking: for what is swept away when a loop closes.
  void abandon() noexcept;
  /// Future::cancel.
  bool cancel() noexcept;

  /// Throws what a result that is not a value means: the error, CancelledError, InvalidStateError.
  [[noreturn]] void throw_failure();
  void require_value() {
    if (status_ != Status::value) throw_failure();
  }
  [[noreturn]] static void throw_already_done();
  [[noreturn]] static void throw_taken();
  /// The error, or null; throws when pending or cancelled. Counts as having looked.
  std::exception_ptr look();

  /// Registers `node`; it is run at once, that is, queued, when the state is done already.
  void add_waiter(Node& node);

  Origin* origin = nullptr;
  std::exception_ptr error;
  List<Node> waiters;
  bool observed = false;      // somebody looked at the error, or nobody needs to
  bool in_block = false;      // lies in front of its coroutine's frame
  bool cancel_unmet = false;  // its coroutine ended before it could be cancelled

 protected:
  StateBase() noexcept {}
  ~StateBase() {
    if (!waiters.empty()) drop_waiters();
    if (error && !observed) log_unobserved();
  }
  bool drop_ref() noexcept { return --refs_ == 0; }
  /// Destroys the state and gives its memory back.
  virtual void dispose() noexcept = 0;

 private:
  void wake() noexcept;
  void drop_waiters() noexcept;
  void log_unobserved() noexcept;

  std::uint32_t refs_ = 1;
  Status status_ = Status::pending;
};

/// Future::set_exception. Throws when the state is done, or `error` null.
TORNADO_EXPORT void set_exception(StateBase& state, std::exception_ptr error);
/// The end of future_set_exception_unless_cancelled.
TORNADO_EXPORT void log_error_after_cancel(const std::exception_ptr& error);

/// The memory of a destroyed state: its hold on `block`, or an allocation of its own.
inline void free_state(void* state, Block* block, std::size_t bytes) noexcept {
  if (block != nullptr) {
    drop_hold(block);
  } else {
    deallocate(state, bytes);
  }
}

/// Like std::is_copy_constructible, which containers claim to be whatever they hold.
template <class T>
inline constexpr bool copyable = std::is_copy_constructible_v<T>;
template <class T>
  requires requires {
    typename T::value_type;
    typename T::allocator_type;
  }
inline constexpr bool copyable<T> =
    std::is_copy_constructible_v<T> && copyable<typename T::value_type>;

template <class T>
class State final : public StateBase {
 public:
  State() noexcept {}
  void release() noexcept {  // as StateBase's, but for the compiler to see through
    if (drop_ref()) State::dispose();
  }

  static State* create() { return ::new (allocate(sizeof(State))) State; }

  template <class... Args>
  void emplace(Args&&... args) {
    ::new (static_cast<void*>(std::addressof(value_))) T(std::forward<Args>(args)...);
    engaged_ = true;
  }
  void reset() noexcept {
    if (std::exchange(engaged_, false)) value_.~T();
  }
  const T& value() {
    require_value();
    if (!engaged_) throw_taken();
    return value_;
  }
  /// Moves the value out when `last` says that nobody else can ask for it, or when it must.
  T take(bool last) {
    require_value();
    if (!engaged_) throw_taken();
    if constexpr (copyable<T>) {
      if (!last) return value_;
    }
    T result = std::move(value_);
    if constexpr (!copyable<T>) reset();
    return result;
  }

 private:
  static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__,
                "a Future's type may not be aligned more strictly than operator new aligns");

  ~State() { reset(); }
  void dispose() noexcept override {
    Block* block = in_block ? reinterpret_cast<Block*>(this) - 1 : nullptr;
    this->~State();
    free_state(this, block, sizeof(State));
  }

  union {
    T value_;
  };
  bool engaged_ = false;
};

template <>
class TORNADO_EXPORT State<void> final : public StateBase {
 public:
  State() noexcept;
  static State* create() { return ::new (allocate(sizeof(State))) State; }
  void emplace() noexcept {}
  void reset() noexcept {}
  void value() { require_value(); }
  void take(bool) { require_value(); }

 private:
  ~State();
  void dispose() noexcept override;
};

template <class T>
inline constexpr std::size_t block_offset =
    (sizeof(Block) + sizeof(State<T>) + __STDCPP_DEFAULT_NEW_ALIGNMENT__ - 1) /
    __STDCPP_DEFAULT_NEW_ALIGNMENT__ * __STDCPP_DEFAULT_NEW_ALIGNMENT__;

/// Holds a state; null after a move.
template <class S>
class Ref {
 public:
  Ref() noexcept = default;
  /// Takes over a reference that the caller holds.
  explicit Ref(S* state) noexcept : state_(state) {}
  Ref(const Ref& other) noexcept : state_(other.state_) {
    if (state_) state_->add_ref();
  }
  Ref(Ref&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~Ref() {
    if (state_) state_->release();
  }
  S* get() const noexcept { return state_; }
  S* operator->() const noexcept { return state_; }
  S& operator*() const noexcept { return *state_; }
  explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  S* state_ = nullptr;
};

template <class T>
inline constexpr bool is_future = false;
template <class T>
inline constexpr bool is_future<Future<T>> = true;

/// Gives library code the state behind a handle.
struct Access {
  template <class T>
  static State<T>* state(const Future<T>& future) noexcept {
    return future.state_.get();
  }
  /// Takes over a reference that the caller holds.
  template <class T>
  static Future<T> adopt(State<T>* state) noexcept {
    return Future<T>(Ref<State<T>>(state));
  }
};

}  // namespace tornado::detail
