// SPDX-License-Identifier: Apache-2.0
#include "tornado/asio.hpp"

#include "loop_core.hpp"

#include <optional>

using tornado::IOLoop;
using tornado::detail::LoopCore;

std::unique_ptr<IOLoop> tornado::make_ioloop(asio::io_context& context,
                                             IOLoop::MakeCurrent make_current) {
  return LoopCore::make_loop({&context, std::nullopt}, make_current);
}

std::unique_ptr<IOLoop> tornado::make_ioloop(
    const asio::strand<asio::io_context::executor_type>& strand, IOLoop::MakeCurrent make_current) {
  return LoopCore::make_loop({&strand.get_inner_executor().context(), strand}, make_current);
}

asio::io_context& tornado::get_io_context(IOLoop& loop) { return LoopCore::of(loop).io(); }

asio::any_io_executor tornado::get_executor(IOLoop& loop) {
  LoopCore& core = LoopCore::of(loop);
  if (core.strand()) return *core.strand();
  return core.io().get_executor();
}
