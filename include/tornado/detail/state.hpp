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
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tornado {
template <class T>
class Future;
}  // namespace tornado

namespace tornado::detail {

class LoopCore;
class StateBase;
class Suspension;

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
    next_ = nullptr;
  }

 private:
  template <class T>
  friend class List;

  Hook* prev_;
  Hook* next_ = nullptr;  // null: in no list
};

/// A list of T, which derives from Hook. Owns nothing; what is left at the end is unlinked.
template <class T>
class List {
 public:
  List() noexcept = default;  // its head is linked at the first use
  ~List() {
    if (head_.linked()) clear();
  }
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  bool empty() const noexcept { return head_.next_ == nullptr || head_.next_ == &head_; }
  /// Counts.
  std::size_t size() const noexcept {
    std::size_t count = 0;
    for_each([&count](const T&) { ++count; });
    return count;
  }
  T& back() const noexcept { return *static_cast<T*>(head_.prev_); }
  void push_back(T& item) noexcept {
    Hook& hook = item;
    link_head();
    hook.prev_ = head_.prev_;
    hook.next_ = &head_;
    head_.prev_->next_ = &hook;
    head_.prev_ = &hook;
  }
  T* pop_front() noexcept {
    Hook* hook = head_.next_;
    if (hook == nullptr || hook == &head_) return nullptr;
    hook->unlink();
    return static_cast<T*>(hook);
  }
  /// Appends all of `other`, which is left empty.
  void splice(List& other) noexcept {
    if (other.empty()) return;
    link_head();
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
    if (empty()) return;
    for (Hook* hook = head_.next_; hook != &head_;) {
      Hook* next = hook->next_;
      f(*static_cast<T*>(hook));
      hook = next;
    }
  }

 private:
  void link_head() noexcept {
    if (!head_.linked()) head_.prev_ = head_.next_ = &head_;
  }
  void clear() noexcept {
    while (!empty()) head_.next_->unlink();
    head_.next_ = nullptr;
  }

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
  struct Type {
    void (*function)(Node*, Event) noexcept;
    Kind kind;
    // For messages: what is called, where that is known.
    std::string (*name)() = nullptr;
    const void* (*address)(const Node&) noexcept = nullptr;  // if it is a plain function
  };

  explicit Node(const Type& type) noexcept : type_(&type) {}

  void handle(Event event) noexcept { type_->function(this, event); }
  Kind kind() const noexcept { return type_->kind; }
  const Type& type() const noexcept { return *type_; }

  /// The loop on which it runs; null until it waits for something.
  LoopCore* loop = nullptr;

 private:
  const Type* type_;
};

/// The type of a node that `function` handles.
template <auto function, Node::Kind kind>
inline constexpr Node::Type node_type{function, kind};

/// What stands behind a pending Future and can be asked to give up: a coroutine, a timer, a read.
class TORNADO_EXPORT Origin {
 public:
  enum class Answer : std::uint8_t { ended, later };
  /// `ended`: nothing will be set any more, the caller marks the state cancelled.
  virtual Answer cancel_requested(StateBase& state) noexcept = 0;
  /// Appends the coroutines that are suspended behind it and that nobody else waits for. False when
  /// one of them runs now: those which wait for that must stay.
  virtual bool collect_frames(std::vector<Suspension*>& frames) const;
  /// What it is, for people.
  virtual std::string describe() const;

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
    if (!waiters.empty()) wake();
  }
  /// As complete(Status::value), when nobody can wait yet.
  void set_ready() noexcept { status_ = Status::value; }
  void fail(std::exception_ptr why) noexcept {
    error = std::move(why);
    complete(Status::error);
  }
  /// As cancel(), but without asking: for what is swept away when a loop closes.
  void abandon() noexcept;
  /// Future::cancel.
  bool cancel() noexcept;

  /// What a result that is not a value means: the error, CancelledError, InvalidStateError.
  std::exception_ptr failure();
  /// Throws that, right where a coroutine waits: each function that an exception has to leave costs
  /// it thousands of instructions.
  TORNADO_INLINE void require_value() {
    if (status_ != Status::value) std::rethrow_exception(failure());
  }
  [[noreturn]] static void throw_already_done();
  [[noreturn]] static void throw_taken();
  /// The error, or null; throws when pending or cancelled. Counts as having looked.
  std::exception_ptr look();

  /// Registers `node`; it is run at once, that is, queued, when the state is done already.
  void add_waiter(Node& node);

  /// What can be asked to give up; null when there is nothing, or all is done.
  Origin* origin() const noexcept { return done() ? nullptr : origin_; }
  void set_origin(Origin* origin) noexcept { origin_ = origin; }

  std::exception_ptr error;
  List<Node> waiters;

 protected:
  /// With `refs` references, in memory from the list `memory`, which goes with it. Without an
  /// origin: whoever makes it sets one, or null, before anybody else knows it.
  StateBase(std::uint32_t refs, std::uint32_t memory) noexcept
      : refs_(refs), memory_(static_cast<std::uint8_t>(memory)) {}
  ~StateBase() {
    if (!waiters.empty()) drop_waiters();
    if (error && !observed) log_unobserved();
  }
  bool drop_ref() noexcept { return --refs_ == 0; }
  std::uint32_t memory() const noexcept { return memory_; }
  /// Destroys the state and gives its memory back.
  virtual void dispose() noexcept = 0;

 private:
  void wake() noexcept;
  void drop_waiters() noexcept;
  void log_unobserved() noexcept;

  // Together one word, so that they are initialised at once.
  Origin* origin_;
  std::uint32_t refs_;
  Status status_ = Status::pending;
  const std::uint8_t memory_;

 public:
  bool observed = false;      // somebody looked at the error, or nobody needs to
  bool cancel_unmet = false;  // its coroutine ended before it could be cancelled
};

/// Future::set_exception. Throws when the state is done, or `error` null.
TORNADO_EXPORT void set_exception(StateBase& state, std::exception_ptr error);
/// The end of future_set_exception_unless_cancelled.
TORNADO_EXPORT void log_error_after_cancel(const std::exception_ptr& error);

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
  State(std::uint32_t refs, std::uint32_t memory) noexcept : StateBase(refs, memory) {}
  void release() noexcept {  // as StateBase's, but for the compiler to see through
    if (drop_ref()) State::dispose();
  }
  void release_from_frame() noexcept {  // the last to do so is mostly a Future
    if (drop_ref()) dispose_from_frame();
  }

  static State* create() {
    auto* state = ::new (allocate(sizeof(State))) State(1, PerThread::list_of(sizeof(State)));
    state->set_origin(nullptr);
    return state;
  }

  template <class... Args>
  void emplace(Args&&... args) {
    ::new (static_cast<void*>(std::addressof(value_))) T(std::forward<Args>(args)...);
    if constexpr (may_be_gone) engaged_ = true;
  }
  void reset() noexcept {
    if constexpr (may_be_gone) {
      if (std::exchange(engaged_, false)) value_.~T();
    }
  }
  TORNADO_INLINE const T& value() {
    require_value();
    require_there();
    return value_;
  }
  /// Moves the value out when `last` says that nobody else can ask for it, or when it must.
  TORNADO_INLINE T take(bool last) {
    require_value();
    require_there();
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

  // A value that is copied, and needs no destructor, is simply there when the status says so.
  static constexpr bool may_be_gone = !(std::is_trivially_destructible_v<T> && copyable<T>);
  void require_there() const {
    if constexpr (may_be_gone) {
      if (!engaged_) throw_taken();
    }
  }

  ~State() { reset(); }
  // Seldom called, and not worth its size in every coroutine.
  TORNADO_COLD void destroy() noexcept { this->~State(); }
  TORNADO_COLD void dispose_from_frame() noexcept { State::dispose(); }
  void dispose() noexcept override {
    const std::uint32_t list = memory();
    if (status() == Status::value) {
      reset();  // there is no error then, and nobody waits
    } else {
      destroy();
    }
    deallocate_to(this, list);
  }

  union {
    T value_;
  };
  struct Nothing {};
  [[no_unique_address]] std::conditional_t<may_be_gone, bool, Nothing> engaged_{};
};

template <>
class TORNADO_EXPORT State<void> final : public StateBase {
 public:
  State(std::uint32_t refs, std::uint32_t memory) noexcept;
  void release() noexcept {
    if (drop_ref()) State::dispose();
  }
  void release_from_frame() noexcept { release(); }
  static State* create() {
    auto* state = ::new (allocate(sizeof(State))) State(1, PerThread::list_of(sizeof(State)));
    state->set_origin(nullptr);
    return state;
  }
  void emplace() noexcept {}
  void reset() noexcept {}
  TORNADO_INLINE void value() { require_value(); }
  TORNADO_INLINE void take(bool) { require_value(); }

 private:
  ~State();
  void dispose() noexcept override;
};

/// Where a coroutine's frame begins, behind its Future's state.
template <class T>
inline constexpr std::size_t block_offset =
    (sizeof(State<T>) + __STDCPP_DEFAULT_NEW_ALIGNMENT__ - 1) / __STDCPP_DEFAULT_NEW_ALIGNMENT__ *
    __STDCPP_DEFAULT_NEW_ALIGNMENT__;

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
