// SPDX-License-Identifier: Apache-2.0
//
// Tells the loops that adapt an application's io_context when that is destroyed.
#pragma once

#include <asio/execution_context.hpp>

#include <mutex>
#include <vector>

namespace tornado::detail {

class LoopCore;

class ContextService final : public asio::execution_context::service {
 public:
  static asio::execution_context::id id;

  explicit ContextService(asio::execution_context& context);

  void add(LoopCore& core);
  void remove(LoopCore& core) noexcept;

 private:
  void shutdown() override;

  std::mutex mutex_;  // with strands the loops may be on different threads
  std::vector<LoopCore*> cores_;
};

}  // namespace tornado::detail
