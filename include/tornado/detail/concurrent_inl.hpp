// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/concurrent_inl.hpp: the template bodies of tornado/concurrent.hpp, apart from it
// for the reader's sake.
#pragma once

#include "tornado/concurrent.hpp"
#include "tornado/detail/callback.hpp"

#include <atomic>
#include <memory>

namespace tornado {

template <class T>
template <class F>
void Future<T>::add_done_callback(F&& callback) const {
  using G = std::decay_t<F>;
  constexpr bool callable = std::is_invocable_v<G&, Future<T>> || std::is_invocable_v<G&>;
  static_assert(callable, "a done-callback is called as callback(Future<T>), or as callback()");
  if constexpr (callable) {
    detail::DoneCallback<T, G>::attach(*state_, std::forward<F>(callback));
  }
}

template <class T, class F>
void future_add_done_callback(const Future<T>& future, F&& callback) {
  if (!future.done()) {
    future.add_done_callback(std::forward<F>(callback));
  } else if constexpr (std::is_invocable_v<F&, Future<T>>) {
    detail::invoke(callback, future);
  } else {
    detail::invoke(callback);
  }
}

namespace detail {

template <class T>
void copy_result(const Future<T>& source, const Future<T>& target) {
  if (target.done()) return;
  if (source.cancelled()) {
    target.cancel();
  } else if (std::exception_ptr error = source.exception()) {
    target.set_exception(std::move(error));
  } else if constexpr (std::is_void_v<T>) {
    target.set_result();
  } else {
    // A move-only value changes its place: the source's is gone then.
    target.set_result(Access::state(source)->take(false));
  }
}

}  // namespace detail

template <class T>
void chain_future(const Future<T>& source, const Future<T>& target) {
  future_add_done_callback(source,
                           [target](const Future<T>& done) { detail::copy_result(done, target); });
}

namespace detail {

/// Calls `f` and makes a Future of what it returns or throws.
template <class F, class... Args>
auto call_as_future(F& f, Args&&... args) {
  using Result = std::decay_t<std::invoke_result_t<F&, Args...>>;
  if constexpr (is_future<Result>) {
    try {
      return Result(detail::invoke(f, std::forward<Args>(args)...));
    } catch (...) {
      return make_exception_future<typename Result::value_type>(std::current_exception());
    }
  } else {
    Future<Result> future;
    try {
      if constexpr (std::is_void_v<Result>) {
        detail::invoke(f, std::forward<Args>(args)...);
        future.set_result();
      } else {
        future.set_result(detail::invoke(f, std::forward<Args>(args)...));
      }
    } catch (...) {
      future.set_exception(std::current_exception());
    }
    return future;
  }
}

/// Nobody will complete `state`: that is an error for those who hold it, if there are any, and no
/// news when the loop closes. Does nothing when it is done.
TORNADO_EXPORT void break_promise(StateBase& state) noexcept;

/// What a RemotePromise and its loop share. It is a queue entry itself, so that completing a Future
/// from another thread allocates nothing.
class TORNADO_EXPORT RemoteCell : public Node {
 public:
  class Link : public Hook {
   public:
    explicit Link(RemoteCell& owner) noexcept : cell(owner) {}
    RemoteCell& cell;
  };

  /// On the loop's thread, when the loop closes: the Future is given up, later results are dropped.
  void detach() noexcept;
  void release() noexcept;

 protected:
  /// Takes over a reference to `state`; registers with the current loop.
  explicit RemoteCell(StateBase* state);
  ~RemoteCell();

  StateBase* state() const noexcept { return state_; }
  /// From any thread: the caller's reference travels to the loop's thread, where apply() is called.
  void send() noexcept;
  void fail(std::exception_ptr error);
  void fail_broken() noexcept;

 private:
  static void on_event(Node* node, Event event) noexcept;
  virtual void apply() noexcept = 0;
  virtual void destroy() noexcept = 0;

  std::shared_ptr<LoopCore> core_;
  StateBase* state_;  // the loop's thread only
  std::exception_ptr error_;
  bool broken_ = false;
  Link link_;
  std::atomic<int> refs_{2};  // the promise, the loop
};

[[noreturn]] TORNADO_EXPORT void throw_promise_used();

}  // namespace detail

template <class T>
class RemotePromise<T>::Cell final : public detail::RemoteCell {
 public:
  Cell() : RemoteCell(detail::State<T>::create()) {}

  Future<T> future() const {
    auto* typed = static_cast<detail::State<T>*>(state());
    if (typed == nullptr) {  // the loop was closed
      Future<T> gone;
      gone.cancel();
      return gone;
    }
    typed->add_ref();
    return detail::Access::adopt(typed);
  }
  template <class... U>
  void set(U&&... value) {
    static_assert(std::is_void_v<T> ? sizeof...(U) == 0 : sizeof...(U) == 1,
                  "RemotePromise<T>::set_result takes one value, RemotePromise<void>'s none");
    if constexpr (!std::is_void_v<T>) value_.emplace(std::forward<U>(value)...);
    send();
  }
  using RemoteCell::fail;
  using RemoteCell::fail_broken;

 private:
  void apply() noexcept override {
    auto& typed = *static_cast<detail::State<T>*>(state());
    try {
      if constexpr (!std::is_void_v<T>) typed.emplace(std::move(*value_));
      typed.complete(detail::Status::value);
    } catch (...) {
      typed.fail(std::current_exception());
    }
  }
  void destroy() noexcept override { delete this; }

  std::optional<std::conditional_t<std::is_void_v<T>, bool, T>> value_;
};

template <class T>
RemotePromise<T>::RemotePromise() : cell_(new Cell) {}

template <class T>
RemotePromise<T>::RemotePromise(RemotePromise&& other) noexcept
    : cell_(std::exchange(other.cell_, nullptr)) {}

template <class T>
RemotePromise<T>& RemotePromise<T>::operator=(RemotePromise&& other) noexcept {
  RemotePromise moved(std::move(other));
  std::swap(cell_, moved.cell_);
  return *this;
}

template <class T>
RemotePromise<T>::~RemotePromise() {
  if (cell_ != nullptr) cell_->fail_broken();
}

template <class T>
auto RemotePromise<T>::cell() -> Cell* {
  if (cell_ == nullptr) detail::throw_promise_used();
  return cell_;
}

template <class T>
Future<T> RemotePromise<T>::get_future() const {
  if (cell_ == nullptr) detail::throw_promise_used();
  return cell_->future();
}

template <class T>
template <class... U>
void RemotePromise<T>::set_result(U&&... value) {
  cell()->set(std::forward<U>(value)...);
  cell_ = nullptr;
}

template <class T>
void RemotePromise<T>::set_exception(std::exception_ptr error) {
  cell()->fail(std::move(error));
  cell_ = nullptr;
}

template <class Bound>
class Executor::BoundWork final : public Executor::Work {
 public:
  using Result = std::decay_t<std::invoke_result_t<Bound&>>;
  explicit BoundWork(Bound bound) : bound_(std::move(bound)) {}
  Future<Result> get_future() const { return promise_.get_future(); }
  void run() noexcept override {
    try {
      if constexpr (std::is_void_v<Result>) {
        bound_();
        promise_.set_result();
      } else {
        promise_.set_result(bound_());
      }
    } catch (...) {
      promise_.set_exception(std::current_exception());
    }
  }

 private:
  Bound bound_;
  RemotePromise<Result> promise_;
};

template <class F, class... Args>
auto Executor::submit(F&& f, Args&&... args) {
  auto bound = detail::bind_callback(std::forward<F>(f), std::forward<Args>(args)...);
  constexpr bool plain = !detail::is_future<std::invoke_result_t<decltype(bound)&>>;
  static_assert(plain,
                "an executor runs plain functions: a coroutine belongs to its loop's thread");
  if constexpr (plain) {
    auto work = std::make_unique<BoundWork<decltype(bound)>>(std::move(bound));
    auto future = work->get_future();
    execute(std::move(work));
    return future;
  }
}

template <class F, class... Args>
auto DummyExecutor::submit(F&& f, Args&&... args) {
  auto bound = detail::bind_callback(std::forward<F>(f), std::forward<Args>(args)...);
  return detail::call_as_future(bound);
}

}  // namespace tornado
