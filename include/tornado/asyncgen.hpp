// SPDX-License-Identifier: Apache-2.0
//
// tornado/asyncgen.hpp: coroutines that give one value after the other.
//
// An AsyncGenerator belongs to the loop of the coroutine that takes its values.
#pragma once

#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"

#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace tornado::gen {

template <class T>
class GeneratorRunner;

/// What a coroutine with `co_yield` returns. Python: an asynchronous generator, `async def` with
/// `yield`, whose values `async for` takes.
///
///     gen::AsyncGenerator<std::string> lines(IOStream stream) {
///       for (;;) co_yield co_await stream.read_until("\n");
///     }
///
///     auto all = lines(stream);
///     while (auto line = co_await all.next()) use(*line);
///
/// Unlike other coroutines it does not begin when it is called, but when the first value is asked
/// for, as in Python. Destroying it destroys the coroutine, wherever that is suspended, with its
/// locals; a pending `next` is cancelled then. Python: `aclose`. Move-only; a moved-from one has
/// ended.
template <class T>
class AsyncGenerator {
 public:
  using promise_type = GeneratorRunner<T>;

  AsyncGenerator(AsyncGenerator&& other) noexcept = default;
  AsyncGenerator& operator=(AsyncGenerator&& other) noexcept {
    AsyncGenerator old(std::move(*this));
    shared_ = std::move(other.shared_);
    return *this;
  }
  ~AsyncGenerator() {
    if (shared_) let_go(*shared_);
  }

  /// The next value, or nothing when the coroutine has ended.
  ///
  /// \throws std::logic_error  while the last `next` is pending.
  /// \par Fails with
  ///   what the coroutine throws; after that it has ended.
  ///
  /// Cancelling it ends what the coroutine waits for with CancelledError; if that leaves the
  /// coroutine, it has ended, if not, the value that comes is the result.
  [[nodiscard]] Future<std::optional<T>> next();

 private:
  friend GeneratorRunner<T>;
  using State = tornado::detail::State<std::optional<T>>;

  /// Outlives handle and coroutine. The handle owns the coroutine.
  struct Shared {
    GeneratorRunner<T>* runner = nullptr;  // null when the coroutine has ended
    tornado::detail::Ref<State> wanted;    // until it is given
    bool handle = true;
  };
  explicit AsyncGenerator(std::shared_ptr<Shared> shared) noexcept : shared_(std::move(shared)) {}
  static void let_go(Shared& shared) noexcept;

  std::shared_ptr<Shared> shared_;
};

/// Only an error message.
template <class T>
  requires(tornado::detail::bad_value<T> || std::is_void_v<T>)
class AsyncGenerator<T> {
 public:
  using promise_type = tornado::detail::RefusedPromise<AsyncGenerator>;
  static_assert(!tornado::detail::bad_value<T> && !std::is_void_v<T>,
                "AsyncGenerator<T> gives values: T may not be void, a reference, an array, a "
                "function, const or volatile");
};

/// The promise type of AsyncGenerator's coroutines.
template <class T>
class GeneratorRunner final : public tornado::detail::AwaitingRunner {
  using Shared = typename AsyncGenerator<T>::Shared;

  /// Stops before the first value, and at each.
  class Stop {
   public:
    explicit Stop(bool at_value) noexcept : at_value_(at_value) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<GeneratorRunner> handle) const noexcept {
      GeneratorRunner& runner = GeneratorRunner::checked(handle);
      if (at_value_) {
        runner.stop_at_value(handle.address());
      } else {
        runner.begin(handle.address());
      }
    }
    void await_resume() const noexcept {}

   private:
    bool at_value_;
  };

 public:
  GeneratorRunner() : shared_(std::make_shared<Shared>()) {
    state_ = nullptr;
    shared_->runner = this;
  }
  ~GeneratorRunner() {
    shared_->runner = nullptr;
    if (const auto wanted = std::move(shared_->wanted)) wanted->abandon();
  }

  static void* operator new(std::size_t bytes) { return tornado::detail::allocate(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept {
    tornado::detail::deallocate(frame, bytes);
  }

  AsyncGenerator<T> get_return_object() noexcept { return AsyncGenerator<T>(shared_); }
  Stop initial_suspend() noexcept { return Stop(false); }
  std::suspend_never final_suspend() noexcept {
    const auto wanted = std::move(shared_->wanted);
    finish(*wanted);
    return {};
  }
  void return_void() { shared_->wanted->emplace(std::nullopt); }
  void unhandled_exception() noexcept {
    shared_->wanted->reset();
    store_exception(*shared_->wanted);
  }

  template <class U>
  Stop yield_value(U&& value) {
    static_assert(std::is_constructible_v<T, U&&>,
                  "an AsyncGenerator<T> has to co_yield what a T can be made of");
    if constexpr (std::is_constructible_v<T, U&&>) {
      shared_->wanted->emplace(std::in_place, std::forward<U>(value));
    }
    return Stop(true);
  }

 private:
  friend AsyncGenerator<T>;

  void begin(void* frame) noexcept { this->suspension().stop(frame); }
  void stop_at_value(void* frame) noexcept {
    this->suspension().stop(frame);
    const auto wanted = std::move(shared_->wanted);
    wanted->cancel_unmet = std::exchange(this->suspension().cancel_wanted, false);
    wanted->complete(tornado::detail::Status::value);
    if (shared_->handle) return;
    // Its own body, or what it called, let go of it. It goes with the callback, called or not.
    const auto destroy = [shared = shared_](void*) {
      if (shared->runner != nullptr) shared->runner->suspension().destroy_with_awaited();
    };
    IOLoop::current().add_callback([end = std::shared_ptr<void>(nullptr, destroy)] {});
  }

  std::shared_ptr<Shared> shared_;
};

template <class T>
Future<std::optional<T>> AsyncGenerator<T>::next() {
  if (!shared_ || shared_->runner == nullptr) return make_ready_future(std::optional<T>());
  if (shared_->wanted) {
    throw std::logic_error("AsyncGenerator::next: the Future of the last call is pending");
  }
  State* state = State::create();
  auto future = tornado::detail::Access::adopt(state);
  state->add_ref();
  const auto shared = shared_;  // the coroutine may destroy this object
  shared->wanted = tornado::detail::Ref<State>(state);
  tornado::detail::Suspension& coroutine = shared->runner->suspension();
  state->set_origin(&coroutine);
  coroutine.go_on();
  return future;
}

template <class T>
void AsyncGenerator<T>::let_go(Shared& shared) noexcept {
  shared.handle = false;
  if (shared.runner == nullptr) return;
  tornado::detail::Suspension& coroutine = shared.runner->suspension();
  if (coroutine.suspended()) coroutine.destroy_with_awaited();
  // It runs now, or what it waits for does: it ends at its next wait or value.
  if (shared.runner != nullptr) coroutine.cancel_requested(*shared.wanted);
}

}  // namespace tornado::gen
