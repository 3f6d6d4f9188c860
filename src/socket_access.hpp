// SPDX-License-Identifier: Apache-2.0
//
// A Socket of a handle that is non-blocking and close-on-exec already: without asking the system.
#pragma once

#include "tornado/netutil.hpp"

namespace tornado::detail {

class SocketAccess {
 public:
  static Socket adopt(native_handle_type handle) noexcept {
    Socket socket;
    socket.handle_ = handle;
    return socket;
  }
};

/// A stream's socket, to look at.
class BorrowedSocket {
 public:
  explicit BorrowedSocket(native_handle_type handle) noexcept
      : socket_(SocketAccess::adopt(handle)) {}
  ~BorrowedSocket() { static_cast<void>(socket_.release()); }
  BorrowedSocket(const BorrowedSocket&) = delete;
  BorrowedSocket& operator=(const BorrowedSocket&) = delete;
  Socket* operator->() noexcept { return &socket_; }

 private:
  Socket socket_;
};

}  // namespace tornado::detail
