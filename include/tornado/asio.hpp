// SPDX-License-Identifier: Apache-2.0
//
// tornado/asio.hpp: the bridge to Asio, and the only header here that includes any of it.
#pragma once

#include "tornado/ioloop.hpp"

#include <asio/io_context.hpp>

namespace tornado {

/// The io_context that `loop` runs: for Asio objects of the program's own, whose handlers then run
/// between the loop's. In such a handler `IOLoop::current()` is `loop`. Valid until the loop is
/// closed. An exception that leaves a handler is logged, and the loop goes on.
///
/// \throws std::logic_error  when the loop has been closed.
TORNADO_EXPORT asio::io_context& get_io_context(IOLoop& loop);

}  // namespace tornado
