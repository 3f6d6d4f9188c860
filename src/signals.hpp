// SPDX-License-Identifier: Apache-2.0
//
// IOLoop::add_signal_handler. The system's handler sets a flag for its signal and wakes the loop
// by its SignalRing's descriptor: a flag cannot be lost for want of room, as an entry of the ring
// can. Asio's signal_set would take a lock in the handler, and would not give back the
// application's own handlers.
#pragma once

#include "tornado/detail/callback.hpp"

#include <functional>
#include <map>
#include <memory>

namespace tornado::detail {

class SignalRing;

/// Those of one loop. Its thread only.
class SignalHandlers {
 public:
  using MakeJob = std::function<Node*(int signo)>;

  /// \param ring  is woken when a signal has come; outlives this.
  explicit SignalHandlers(SignalRing& ring) noexcept : ring_(ring) {}
  ~SignalHandlers();
  SignalHandlers(const SignalHandlers&) = delete;
  SignalHandlers& operator=(const SignalHandlers&) = delete;

  void add(int signo, MakeJob make_job);
  bool remove(int signo) noexcept;
  /// In a turn: calls the handlers of the signals that have come.
  void dispatch() noexcept;

 private:
  /// With the values of context variables where it was added.
  struct Handler {
    explicit Handler(MakeJob job) : make_job(std::move(job)) {}
    MakeJob make_job;
    ContextRef context;
  };

  SignalRing& ring_;
  std::map<int, std::shared_ptr<Handler>> handlers_;
};

/// Around a fork.
void lock_signals() noexcept;
void unlock_signals() noexcept;
/// With the lock held: signals do in the child what they did before there were handlers.
void restore_signals_in_child() noexcept;

}  // namespace tornado::detail
