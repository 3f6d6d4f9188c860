// SPDX-License-Identifier: Apache-2.0
//
// The executor of IOLoop::run_in_executor when the program names none.
#pragma once

#include "fork.hpp"
#include "tornado/concurrent.hpp"

#include <memory>

namespace tornado::detail {

/// Threads that are started when there is something to do for them. Unlike a ThreadPoolExecutor it
/// goes without waiting for its functions: those that have not begun never will, those that run do
/// so to the end, which the end of the program waits for.
class DefaultExecutor final : public Executor {
 public:
  DefaultExecutor();
  ~DefaultExecutor() override;

 private:
  class Pool;
  void execute(std::unique_ptr<Work> work) override;

  const unsigned generation_ = fork_generation();
  std::shared_ptr<Pool> pool_;
};

}  // namespace tornado::detail
