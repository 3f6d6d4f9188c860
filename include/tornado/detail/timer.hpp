// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/timer.hpp: an entry of a loop's timeout queue.
#pragma once

#include "tornado/detail/callback.hpp"
#include "tornado/detail/chrono.hpp"

#include <cstddef>
#include <cstdint>

namespace tornado::detail {

/// Runs when its time has come, once. Knows its place in the queue, so that it can be taken out.
class TORNADO_EXPORT TimerNode : public Node {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  TimerNode(const Type& type, TimePoint when) noexcept : Node(type), when_(when) {}
  ~TimerNode() { stop(); }

  TimePoint when() const noexcept { return when_; }
  /// Puts it into the current loop's queue, or `core`'s.
  void start();
  void start(LoopCore& core);
  /// After this it does not run. Harmless when it is not queued, or has run.
  void stop() noexcept;

 private:
  friend class TimerQueue;
  static constexpr std::size_t not_queued = static_cast<std::size_t>(-1);

  TimePoint when_;
  std::size_t place_ = not_queued;
};

/// A TimerNode that a Timeout handle can share. The callable goes when it has run, or was removed;
/// the rest when the last handle goes.
class TORNADO_EXPORT SharedTimer : public TimerNode {
 public:
  void add_ref() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) free_();
  }
  /// IOLoop::remove_timeout.
  void remove() noexcept;

 protected:
  SharedTimer(const Type& type, TimePoint when) noexcept : TimerNode(type, when) {}

 private:
  virtual void free_() noexcept = 0;

  std::uint32_t refs_ = 1;
};

template <class F>
class CallbackTimer final : public SharedTimer {
 public:
  template <class G>
  static SharedTimer* create(TimePoint when, G&& f) {
    void* memory = allocate(sizeof(CallbackTimer));
    try {
      return ::new (memory) CallbackTimer(when, std::forward<G>(f));
    } catch (...) {
      deallocate(memory, sizeof(CallbackTimer));
      throw;
    }
  }

 private:
  template <class G>
  CallbackTimer(TimePoint when, G&& f)
      : SharedTimer(callable_type<&on_event, CallbackTimer, F, Kind::job>, when),
        f_(std::forward<G>(f)) {}
  friend struct CallableOf<CallbackTimer>;
  ~CallbackTimer() {
    if (engaged_) f_.~F();
  }

  static void on_event(Node* node, Event event) noexcept {
    auto* self = static_cast<CallbackTimer*>(node);
    if (event == Event::run && call_and_keep(self, self->context_, self->f_)) return;
    self->engaged_ = false;
    self->f_.~F();
    self->release();
  }
  void free_() noexcept override {
    this->~CallbackTimer();
    deallocate(this, sizeof(CallbackTimer));
  }

  ContextRef context_;
  union {
    F f_;
  };
  bool engaged_ = true;
};

}  // namespace tornado::detail
