// SPDX-License-Identifier: Apache-2.0
//
// Tells a loop that it is in a child of the process that made it: the child has a copy of the loop,
// but the system's side of it, epoll sets and the like, is the parent's as well.
#pragma once

#include <memory>

namespace tornado::detail {

/// How many forks led to this process from the one in which the program began. Costs a load.
unsigned fork_generation() noexcept;

/// For what a child has from its parent, and can neither use nor destroy.
void keep_for_ever(std::shared_ptr<void> object);

}  // namespace tornado::detail
