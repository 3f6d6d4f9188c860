// SPDX-License-Identifier: Apache-2.0
//
// Keeps a system call that has no MSG_NOSIGNAL from raising SIGPIPE.
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>

#include <pthread.h>

namespace tornado::detail {

/// While it lives this thread gets no SIGPIPE. One that was pending before stays so. Does not
/// change errno.
class SigpipeGuard {
 public:
  SigpipeGuard() noexcept {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
    // Only where it was blocked can one have been pending.
    if (::sigismember(&before_, SIGPIPE) == 1) {
      sigset_t pending;
      was_pending_ = ::sigpending(&pending) == 0 && ::sigismember(&pending, SIGPIPE) == 1;
    }
  }
  /// To be called when the system call has said EPIPE.
  void discard() noexcept {
    if (was_pending_) return;
    const int error = errno;
    const timespec now{};
    while (::sigtimedwait(&sigpipe_, nullptr, &now) < 0 && errno == EINTR) {
    }
    errno = error;
  }
  ~SigpipeGuard() {
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t sigpipe_;
  sigset_t before_;
  bool was_pending_ = false;
};

}  // namespace tornado::detail
