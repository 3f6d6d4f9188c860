// SPDX-License-Identifier: Apache-2.0
//
// Pipes and whatever else can be polled: direct non-blocking calls, and Asio to wait.
#pragma once

#include "tornado/iostream.hpp"

namespace tornado::detail {

/// A stream over `fd`, which it owns from the moment it is returned.
///
/// \throws  as PipeIOStream's constructor does; `fd` is still the caller's then.
IOStream make_pipe_stream(native_handle_type fd, const IOStreamOptions& options);

}  // namespace tornado::detail
