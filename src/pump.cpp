// SPDX-License-Identifier: Apache-2.0
#include "stream_core.hpp"
#include "tornado/iostream.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace tornado {
namespace {

Future<std::uint64_t> copy(IOStream from, IOStream to, PumpOptions options) {
  const auto source = detail::StreamCore::share(from);
  source->allow_half_open();
  std::uint64_t count = 0;
  while (count < options.max_bytes) {
    const auto most = static_cast<std::size_t>(
        std::min<std::uint64_t>(options.chunk_size, options.max_bytes - count));
    std::string data;
    try {
      data = co_await from.read_bytes(most, Partial::yes);
    } catch (const StreamClosedError&) {
      if (from.error() || !source->read_ended()) throw;
    }
    if (data.empty()) {
      if (options.shutdown_write) co_await to.shutdown_write();
      break;
    }
    const std::size_t size = data.size();
    const Future<void> written = to.write(std::move(data));
    if (written.done()) written.result();  // for what it throws
    count += size;
    co_await to.drain();
  }
  co_return count;
}

}  // namespace

Future<std::uint64_t> pump(IOStream from, IOStream to, PumpOptions options) {
  if (options.chunk_size == 0) throw std::invalid_argument("pump: chunk_size is 0");
  return copy(std::move(from), std::move(to), options);
}

}  // namespace tornado
