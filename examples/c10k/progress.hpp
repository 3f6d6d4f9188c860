// SPDX-License-Identifier: Apache-2.0
//
// How far it is, on stderr: a bar on a terminal, elsewhere a line now and then.
#pragma once

#include <tornado/ioloop.hpp>

#include <chrono>
#include <functional>
#include <string>

namespace c10k {

/// Shows the phase, how much of it is done, and the time left, until it is destroyed.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;
  using Share = std::function<double()>;        ///< How much is done, 0 to 1.
  using Detail = std::function<std::string()>;  ///< Such as "4,321 of 10,000 connections".

  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Begins a phase, and ends the one before. The functions are asked whenever something is shown.
  ///
  /// \param later  how long the phases after this one will take.
  void begin(std::string phase, Share done, Detail detail, Clock::duration later);
  /// Begins a phase that takes a time known beforehand.
  void begin(std::string phase, Clock::duration duration, Detail detail, Clock::duration later);

 private:
  void show();

  const bool on_terminal_;
  std::string phase_;
  Share done_;
  Detail detail_;
  Clock::time_point begun_;
  Clock::duration later_{};
  tornado::Timeout next_;
};

}  // namespace c10k
