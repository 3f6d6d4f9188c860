// SPDX-License-Identifier: Apache-2.0
//
// What backends over descriptors have in common.
#pragma once

#include "tornado/stream_backend.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>

#include <sys/uio.h>

namespace tornado::detail {

/// errno; "not now" in the words of StreamBackend::Result.
inline std::error_code last_error() {
  const int error = errno;
  if (error == EAGAIN || error == EWOULDBLOCK) {
    return std::make_error_code(std::errc::operation_would_block);
  }
  return {error, std::system_category()};
}

/// What `call()` gives, a count or -1 and errno; again when a signal has interrupted it.
template <class F>
StreamBackend::Result result_of(F call) noexcept {
  for (;;) {
    const ssize_t count = call();
    if (count >= 0) return {static_cast<std::size_t>(count)};
    if (errno != EINTR) return {0, last_error()};
  }
}

/// The first of `chunks`, as many as `room` has, for a gathering write.
inline std::span<iovec> as_iovecs(std::span<const std::string_view> chunks,
                                  std::span<iovec> room) noexcept {
  const std::size_t count = std::min(chunks.size(), room.size());
  for (std::size_t i = 0; i < count; ++i) {
    room[i] = {const_cast<char*>(chunks[i].data()), chunks[i].size()};
  }
  return room.first(count);
}

}  // namespace tornado::detail
