// SPDX-License-Identifier: Apache-2.0
#include "context_service.hpp"

#include "loop_core.hpp"

#include <memory>
#include <stdexcept>

namespace tornado::detail {

asio::execution_context::id ContextService::id;

ContextService::ContextService(asio::execution_context& context)
    : asio::execution_context::service(context) {}

void ContextService::add(LoopCore& core) {
  const std::lock_guard lock(mutex_);
  cores_.push_back(&core);
}

void ContextService::remove(LoopCore& core) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(cores_, &core);
}

// Called by the context's destructor, before Asio's own services end: sockets can still be closed.
void ContextService::shutdown() {
  for (;;) {
    std::shared_ptr<LoopCore> core;
    {
      const std::lock_guard lock(mutex_);
      if (cores_.empty()) return;
      core = cores_.back()->shared_from_this();
      cores_.pop_back();
    }
    try {
      core->close(false, true);
    } catch (const std::logic_error&) {
      fatal("an io_context was destroyed inside a callback of the IOLoop that adapts it");
    }
  }
}

}  // namespace tornado::detail
