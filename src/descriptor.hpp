// SPDX-License-Identifier: Apache-2.0
//
// A descriptor that Asio watches for a stream.
#pragma once

#include "loop_core.hpp"
#include "tornado/stream_backend.hpp"

#include <cstdint>

namespace tornado::detail {

class Descriptor {
 public:
  using Interest = StreamBackend::Interest;
  using Ready = StreamBackend::Ready;

  /// \throws std::system_error  when it cannot be watched; it is still the caller's then.
  Descriptor(LoopCore& loop, int fd);
  ~Descriptor() {
    static_cast<void>(release());
    watch_->drop();
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  LoopCore& loop() const noexcept { return watch_->loop; }
  /// -1 when it was closed or released.
  int get() const noexcept { return fd_; }
  bool is_open() const noexcept { return fd_ >= 0; }

  /// What an attempt to read gave: after one that would have blocked, a wait in the same turn need
  /// not look. Later the edge for what came meanwhile may have been reported already.
  StreamBackend::Result read(StreamBackend::Result result) noexcept {
    blocked_in_ = result.bytes == 0 && result.error ? turn() : 0;
    return result;
  }
  /// Tells `ready`, not inside this call, when one can read, or write; `operation_canceled` when it
  /// was closed or released before, or meanwhile.
  void wait(Interest interest, Ready ready);
  void close() noexcept;
  /// Hands it over to the caller.
  [[nodiscard]] int release() noexcept;

  /// What Asio knows of it.
  class Watch {
   public:
    explicit Watch(LoopCore& the_loop) noexcept : loop(the_loop) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    /// \param blocked  there is nothing to read.
    virtual void wait(Interest interest, Ready ready, bool blocked) = 0;
    /// Gives up the waits.
    virtual void end() noexcept = 0;
    /// Behind end(): destroys this, when the last of the waits has been told.
    virtual void drop() noexcept = 0;

    LoopCore& loop;

   protected:
    virtual ~Watch() = default;
  };

 private:
  /// The last digits of its number.
  std::uint32_t turn() const noexcept { return static_cast<std::uint32_t>(loop().turn()); }

  Watch* watch_;
  int fd_;
  std::uint32_t blocked_in_ = 0;  // a turn, or 0
};

}  // namespace tornado::detail
