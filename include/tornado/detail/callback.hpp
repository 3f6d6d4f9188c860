// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/callback.hpp: callables that the loop keeps, calls, and looks after.
#pragma once

#include "tornado/detail/context.hpp"
#include "tornado/detail/functional.hpp"
#include "tornado/detail/state.hpp"

#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace tornado::detail {

/// Logs the exception being handled, or gives it to the loop's handler.
TORNADO_EXPORT void report_callback_exception() noexcept;
/// Looks after a Future that a callback returned: its failure is logged, and `keeper`, which holds
/// the callable, lives until then. Returns false when the Future is done and nothing was kept.
TORNADO_EXPORT bool watch(StateBase& state, Node* keeper);

/// Calls `f` in `context`. True when `keeper` must stay, since a coroutine of f's still runs.
template <class F, class... Args>
bool call_and_keep(Node* keeper, ContextRef& context, F& f, Args&&... args) noexcept {
  const ContextScope scope(context);
  try {
    using Result = std::invoke_result_t<F&, Args...>;
    if constexpr (is_future<std::decay_t<Result>>) {
      std::decay_t<Result> future = detail::invoke(f, std::forward<Args>(args)...);
      return watch(*Access::state(future), keeper);
    } else {
      static_cast<void>(detail::invoke(f, std::forward<Args>(args)...));
    }
  } catch (...) {
    report_callback_exception();
  }
  return false;
}

/// A type's name as the program's author wrote it.
TORNADO_EXPORT std::string readable_name(const std::type_info& type);

/// What of an F is called.
template <class F>
struct Called {
  static std::string name() { return readable_name(typeid(F)); }
  static const void* address(const F& f) noexcept {
    if constexpr (std::is_pointer_v<F>) {
      return reinterpret_cast<const void*>(f);
    } else {
      return nullptr;
    }
  }
};

/// The callable of a node of type N.
template <class N>
struct CallableOf {
  static const void* address(const Node& node) noexcept {
    return Called<decltype(N::f_)>::address(static_cast<const N&>(node).f_);
  }
};

/// The type of a node of type N that `function` handles, and that calls an F.
template <auto function, class N, class F, Node::Kind kind>
inline constexpr Node::Type callable_type{function, kind, &Called<F>::name,
                                          &CallableOf<N>::address};

/// A callable and its arguments, stored by value, for one call. The call gets the arguments
/// themselves, so that they may be move-only; by reference where it asks for that.
template <class F, class... Args>
class Bound {
 public:
  template <class G, class... A>
  explicit Bound(G&& f, A&&... args) : f_(std::forward<G>(f)), args_(std::forward<A>(args)...) {}
  decltype(auto) operator()() {
    return std::apply(
        [this](Args&... args) -> decltype(auto) {
          if constexpr (std::is_invocable_v<F&, Args...>) {
            return detail::invoke(f_, std::move(args)...);
          } else {
            return detail::invoke(f_, args...);
          }
        },
        args_);
  }

 private:
  friend struct Called<Bound>;
  F f_;
  std::tuple<Args...> args_;
};

template <class F, class... Args>
struct Called<Bound<F, Args...>> {
  static std::string name() { return Called<F>::name(); }
  static const void* address(const Bound<F, Args...>& bound) noexcept {
    return Called<F>::address(bound.f_);
  }
};

/// Stands for a callback that the compiler was told to refuse, so that one error is all.
class Refused {
 public:
  void operator()() const noexcept {}
};

/// `f` itself, or `f` with `args` bound to it.
template <class F, class... Args>
auto bind_callback(F&& f, Args&&... args) {
  constexpr bool callable = std::is_invocable_v<std::decay_t<F>&, std::decay_t<Args>...> ||
                            std::is_invocable_v<std::decay_t<F>&, std::decay_t<Args>&...>;
  static_assert(callable, "the callback cannot be called with the arguments given for it");
  if constexpr (!callable) {
    return Refused();
  } else if constexpr (sizeof...(Args) == 0) {
    return std::decay_t<F>(std::forward<F>(f));
  } else {
    return Bound<std::decay_t<F>, std::decay_t<Args>...>(std::forward<F>(f),
                                                         std::forward<Args>(args)...);
  }
}

/// A node in pooled memory that holds an F: a callback that runs once.
template <class F>
class Job final : public Node {
 public:
  template <class G>
  static Node* create(G&& f) {
    void* memory = allocate(sizeof(Job));
    try {
      return ::new (memory) Job(std::forward<G>(f));
    } catch (...) {
      deallocate(memory, sizeof(Job));
      throw;
    }
  }

 private:
  template <class G>
  explicit Job(G&& f) : Node(callable_type<&on_event, Job, F, Kind::job>), f_(std::forward<G>(f)) {}

  friend struct CallableOf<Job>;
  static void on_event(Node* node, Event event) noexcept {
    auto* self = static_cast<Job*>(node);
    if (event == Event::run && call_and_keep(self, self->context_, self->f_)) return;
    self->~Job();
    deallocate(self, sizeof(Job));
  }

  ContextRef context_;
  F f_;
};

/// A queue entry that calls `f(args...)` once.
template <class F, class... Args>
Node* make_job(F&& f, Args&&... args) {
  auto bound = bind_callback(std::forward<F>(f), std::forward<Args>(args)...);
  return Job<decltype(bound)>::create(std::move(bound));
}

/// A StateCallback's place in the list of its loop, which drops it when it closes.
class CallbackLink : public Hook {};

/// Waits for a Future and belongs to its state.
class TORNADO_EXPORT StateCallback : public Node, public CallbackLink {
 public:
  explicit StateCallback(const Type& type) noexcept : Node(type) {}

  CallbackLink& link() noexcept { return *this; }

  /// In place of handle(Event::drop) while it waits: it may be what holds the target.
  void drop_waiting() noexcept {
    target = nullptr;
    handle(Event::drop);
  }

  // Set when it begins to wait; held from when that is done.
  StateBase* target = nullptr;

 protected:
  ~StateCallback() {
    if (target != nullptr) target->release();
  }
};

template <class T, class F>
class DoneCallback final : public StateCallback {
 public:
  template <class G>
  static void attach(State<T>& state, G&& f) {
    void* memory = allocate(sizeof(DoneCallback));
    DoneCallback* node;
    try {
      node = ::new (memory) DoneCallback(std::forward<G>(f));
    } catch (...) {
      deallocate(memory, sizeof(DoneCallback));
      throw;
    }
    state.add_waiter(*node);
  }

 private:
  template <class G>
  explicit DoneCallback(G&& f)
      : StateCallback(callable_type<&on_event, DoneCallback, F, Kind::callback>),
        f_(std::forward<G>(f)) {}

  friend struct CallableOf<DoneCallback>;
  static void on_event(Node* node, Event event) noexcept {
    auto* self = static_cast<DoneCallback*>(node);
    if (event == Event::run && self->run()) return;
    self->~DoneCallback();
    deallocate(self, sizeof(DoneCallback));
  }
  bool run() noexcept {
    if constexpr (std::is_invocable_v<F&, Future<T>>) {
      auto* state = static_cast<State<T>*>(target);
      state->add_ref();
      return call_and_keep(this, context_, f_, Access::adopt(state));
    } else {
      return call_and_keep(this, context_, f_);
    }
  }

  ContextRef context_;
  F f_;
};

}  // namespace tornado::detail
