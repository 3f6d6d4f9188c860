// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/ioloop_inl.hpp: the template bodies of tornado/ioloop.hpp, apart from it for the
// reader's sake.
#pragma once

#include "tornado/detail/callback.hpp"
#include "tornado/ioloop.hpp"

namespace tornado {

template <class T, class F>
void IOLoop::add_future(const Future<T>& future, F&& callback) {
  constexpr bool callable = std::is_invocable_v<std::decay_t<F>&, Future<T>>;
  static_assert(callable, "add_future calls its callback as callback(Future<T>)");
  if constexpr (callable) {
    future.add_done_callback([keep = future, call = std::forward<F>(callback)](
                                 const Future<T>&) mutable { return call(std::move(keep)); });
  }
}

namespace detail {

/// A call that some thread waits for: run_sync's, submit's. Shared by the waiting thread and by
/// what the call began, since with a timeout either may be the last to need the callable.
template <class F>
class SharedCall : public SyncCall, public std::enable_shared_from_this<SharedCall<F>> {
 public:
  using Result = decltype(call_as_future(std::declval<F&>()));
  using Value = typename Result::value_type;

  template <class G>
  explicit SharedCall(G&& f) : f_(std::forward<G>(f)) {}

  template <class Done>
  void begin(Done done) {
    result_ = call_as_future(f_);
    result_->add_done_callback(
        [self = this->shared_from_this(), done = std::move(done)]() mutable { done(); });
  }
  void begin_and_stop(IOLoop& loop) override {
    if (!this->wanted) return;
    begin([this, &loop] {
      if (this->wanted) loop.stop();
    });
  }
  StateBase* state() const noexcept override { return result_ ? Access::state(*result_) : nullptr; }
  Value take() {
    State<Value>* state = Access::state(*result_);
    return state->take(state->unique());
  }

 private:
  F f_;
  std::optional<Result> result_;
};

template <class F>
class Periodic final : public PeriodicCore {
 public:
  template <class G>
  Periodic(G&& f, std::chrono::duration<double> period, double jitter)
      : PeriodicCore(period, jitter), f_(std::forward<G>(f)) {}

 private:
  Ref<StateBase> call() override {
    if constexpr (is_future<std::decay_t<std::invoke_result_t<F&>>>) {
      auto future = detail::invoke(f_);
      StateBase* state = Access::state(future);
      state->add_ref();
      return Ref<StateBase>(state);
    } else {
      static_cast<void>(detail::invoke(f_));
      return Ref<StateBase>();
    }
  }

  F f_;
};

/// A std::promise; its definition is in <tornado/submit.hpp>.
template <class T>
class BlockingPromise;

}  // namespace detail

template <class F, class Rep, class Period>
PeriodicCallback::PeriodicCallback(F&& callback, std::chrono::duration<Rep, Period> period,
                                   double jitter)
    : core_(std::make_shared<detail::Periodic<std::decay_t<F>>>(std::forward<F>(callback), period,
                                                                jitter)) {
  static_assert(std::is_invocable_v<std::decay_t<F>&>,
                "a PeriodicCallback calls its callback without arguments");
}

template <class F>
void IOLoop::add_signal_handler(int signo, F&& callback) {
  using G = std::decay_t<F>;
  constexpr bool with_signo = std::is_invocable_v<G&, int>;
  constexpr bool callable = with_signo || std::is_invocable_v<G&>;
  static_assert(callable, "add_signal_handler calls its callback as callback(signo) or callback()");
  if constexpr (callable) {
    auto shared = std::make_shared<G>(std::forward<F>(callback));
    set_signal_handler(signo, [shared]([[maybe_unused]] int number) {
      if constexpr (with_signo) {
        return detail::make_job(
            [shared](int which) -> decltype(auto) { return detail::invoke(*shared, which); },
            number);
      } else {
        return detail::make_job([shared]() -> decltype(auto) { return detail::invoke(*shared); });
      }
    });
  }
}

template <class F, class... Args>
auto IOLoop::run_in_executor(Executor* executor, F&& f, Args&&... args) {
  Executor& chosen = executor_or_default(executor);
  const detail::AsCurrent here(*this);  // or the result would be another loop's
  return chosen.submit(std::forward<F>(f), std::forward<Args>(args)...);
}

template <detail::Selectable T, class F>
void IOLoop::add_handler(T& object, F&& handler, int events) {
  constexpr bool callable = std::is_invocable_v<std::decay_t<F>&, T&, int>;
  static_assert(callable, "add_handler calls the handler of an object as handler(object, events)");
  if constexpr (callable) {
    add_object_handler(
        object.native_handle(),
        [&object, call = std::forward<F>(handler)](native_handle_type, int what) mutable {
          detail::invoke(call, object, what);
        },
        events, [&object] { close_fd(object); });
  }
}

template <class F>
auto IOLoop::run_sync(F&& f, std::optional<Deadline> timeout) {
  constexpr bool callable = std::is_invocable_v<std::decay_t<F>&>;
  static_assert(callable, "run_sync calls its argument as f()");
  if constexpr (callable) {
    auto call = std::make_shared<detail::SharedCall<std::decay_t<F>>>(std::forward<F>(f));
    run_call(call, timeout);
    return call->take();
  }
}

template <class F, class... Args>
auto IOLoop::submit(F&& f, Args&&... args) {
  auto bound = detail::bind_callback(std::forward<F>(f), std::forward<Args>(args)...);
  using Call = detail::SharedCall<decltype(bound)>;
  using Value = typename Call::Value;
  constexpr bool complete = requires { sizeof(detail::BlockingPromise<Value>); };
  static_assert(complete, "IOLoop::submit needs #include <tornado/submit.hpp>");
  if constexpr (complete) {
    auto call = std::make_shared<Call>(std::move(bound));
    detail::BlockingPromise<Value> promise;
    auto answer = promise.get_future();
    add_callback([call = std::move(call), promise = std::move(promise)]() mutable {
      Call& begun = *call;
      begun.begin([&begun, promise = std::move(promise)]() mutable {
        try {
          if constexpr (std::is_void_v<Value>) {
            begun.take();
            promise.set_value();
          } else {
            promise.set_value(begun.take());
          }
        } catch (...) {
          promise.set_exception(std::current_exception());
        }
      });
    });
    return answer;
  }
}

}  // namespace tornado
