// SPDX-License-Identifier: Apache-2.0
//
// TCP and Unix sockets: direct non-blocking calls, and Asio to wait.
#pragma once

#include "tornado/iostream.hpp"

#include <memory>

namespace tornado::detail {

/// \throws std::system_error  when `socket` is closed, or no stream socket.
std::unique_ptr<StreamBackend> make_socket_backend(Socket socket);

}  // namespace tornado::detail
