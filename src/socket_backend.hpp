// SPDX-License-Identifier: Apache-2.0
//
// TCP and Unix sockets: direct non-blocking calls, and Asio to wait.
#pragma once

#include "tornado/iostream.hpp"

#include <memory>

namespace tornado::detail {

/// A backend whose socket can be taken out.
class ReleasableBackend : public StreamBackend {
 public:
  /// The handle, which is the caller's from now on.
  virtual native_handle_type release() = 0;
};

/// \throws std::system_error  when `socket` is closed, or no stream socket.
std::unique_ptr<StreamBackend> make_socket_backend(Socket socket);

}  // namespace tornado::detail
