// SPDX-License-Identifier: Apache-2.0
//
// tornado/inspect.hpp: what a loop is doing: its coroutines and what they wait for, its figures,
// the callbacks that take too long.
//
// For the loop's thread only.
#pragma once

#include "tornado/detail/chrono.hpp"
#include "tornado/detail/export.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tornado {
class IOLoop;
}  // namespace tornado

namespace tornado::inspect {

/// A coroutine that is suspended.
struct Coroutine {
  std::uint64_t number;   // in the order in which coroutines of its thread were first suspended
  std::string function;   // as the compiler writes it
  std::string file;       // of the co_await at which it waits; empty for a generator not yet begun
  std::uint32_t line;     // of it, from 1
  std::string waits_for;  // "coroutine 12", "a timeout in 1.5 s", "a read from fd 7"
};

/// All suspended coroutines of `loop`, callers before what they called.
///
/// \throws std::logic_error  when the loop has been closed.
[[nodiscard]] TORNADO_EXPORT std::vector<Coroutine> coroutines(IOLoop& loop);

/// The same as text, a line each:
///
///     coroutine 3: handle(IOStream) at server.cpp:42 waits for a read from fd 7
[[nodiscard]] TORNADO_EXPORT std::string dump(IOLoop& loop);

/// Logs `dump`, as a warning, whenever the process gets the signal `signo`, SIGUSR1 for one: by a
/// signal handler of `loop`, which `IOLoop::remove_signal_handler` takes away.
///
/// \throws  what `IOLoop::add_signal_handler` does.
TORNADO_EXPORT void dump_on_signal(IOLoop& loop, int signo);

/// A loop's figures. What is counted is counted from the loop's beginning.
struct Metrics {
  std::uint64_t turns = 0;          // events from the reactor, each with what it caused
  std::uint64_t callbacks = 0;      // callbacks, timeouts and resumptions of coroutines
  std::size_t queued = 0;           // callbacks of the next iteration, coroutines to resume
  std::size_t timeouts = 0;         // that are still to come
  std::size_t handlers = 0;         // descriptors given to add_handler
  std::size_t coroutines = 0;       // that are suspended
  std::chrono::nanoseconds busy{};  // time in turns since measure_time
  std::chrono::nanoseconds idle{};  // time between them since then
};

/// \throws std::logic_error  when the loop has been closed.
[[nodiscard]] TORNADO_EXPORT Metrics metrics(IOLoop& loop);

/// Begins, or ends, the measuring of `busy` and `idle`. It takes two looks at the clock per turn.
TORNADO_EXPORT void measure_time(IOLoop& loop, bool on = true);

/// Logs a warning when a callback, a timeout, a handler or a coroutine between two waits takes
/// `threshold` or longer, with its type, or function and line. Zero ends that. It takes two looks
/// at the clock per callback. Tornado 4: `IOLoop.set_blocking_log_threshold`.
TORNADO_EXPORT void report_slow_callbacks(IOLoop& loop, std::chrono::nanoseconds threshold);

/// When `loop` is closed, logs a warning with `dump`'s lines if coroutines are suspended in it.
TORNADO_EXPORT void report_leaks(IOLoop& loop, bool on = true);

}  // namespace tornado::inspect
