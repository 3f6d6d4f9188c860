// SPDX-License-Identifier: Apache-2.0
//
// tornado/stream_backend.hpp: what lies below a stream's buffers, for streams of one's own.
//
// All of it runs on the loop's thread.
#pragma once

#include "tornado/netutil.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

namespace tornado {

namespace detail {
class StreamCore;
}  // namespace detail

/// What a stream reads from and writes to: the part below the buffers. Implement it to make a
/// stream of your own. Python: the methods of BaseIOStream that a subclass overrides.
///
/// No call may block. A backend may be a layer over another one, as TLS is: see Ready.
class TORNADO_EXPORT StreamBackend {
 public:
  /// What a call did. An error of `std::errc::operation_would_block` means: not now, wait.
  class Result {
   public:
    Result(std::size_t count, std::error_code why = {}) noexcept : bytes(count), error(why) {}
    std::size_t bytes;
    std::error_code error;
  };
  enum class Interest { read, write };
  /// Tells the stream that a wait is over: call it once, from the loop's thread, but not from
  /// inside `wait`. Dropping it instead is right only when the stream was closed.
  class TORNADO_EXPORT Ready {
   public:
    Ready(Ready&& other) noexcept;
    Ready& operator=(Ready&& other) noexcept;
    ~Ready();
    /// \param error  with which the stream closes; none: it tries to read, or write, again.
    void operator()(std::error_code error = {});

    /// Another one for the same stream, for the `wait` of the backend below `layer`: what it is
    /// told goes to `layer.on_lower_ready`, or nowhere when the stream has been closed.
    Ready for_layer(StreamBackend& layer, Interest interest) const noexcept;

   private:
    friend detail::StreamCore;
    Ready(detail::StreamCore& core, StreamBackend* layer, Interest interest) noexcept;
    detail::StreamCore* core_;
    StreamBackend* layer_;
    Interest interest_;
  };

  StreamBackend() = default;
  StreamBackend(const StreamBackend&) = delete;
  StreamBackend& operator=(const StreamBackend&) = delete;
  virtual ~StreamBackend();

  /// Reads up to `size` bytes, 1 or more. No bytes and no error: the other end has closed. Less
  /// than `size` means that there is no more for now.
  virtual Result read_from_fd(char* buffer, std::size_t size) noexcept = 0;
  /// Writes what it can of `chunks`, in order. What was not written is offered again, with more
  /// behind it perhaps.
  virtual Result write_to_fd(std::span<const std::string_view> chunks) noexcept = 0;
  /// Calls `ready` when one can read, or write: soon, when one can already. There is at most one
  /// wait of each kind.
  virtual void wait(Interest interest, Ready ready) = 0;
  /// Closes; what waits is given up. Called once.
  virtual void close_fd() noexcept = 0;
  /// Begins to connect; what it does goes on until `wait(Interest::write)` is over. By default,
  /// `std::errc::operation_not_supported`.
  virtual std::error_code connect(const Address& address) noexcept;
  /// The error that ended an attempt to connect; none when it succeeded.
  virtual std::error_code get_fd_error() noexcept;
  /// Tells the other end that no more will be written; reading goes on. It is called when all was
  /// written, and after a wait again when it would block. By default,
  /// `std::errc::operation_not_supported`.
  virtual std::error_code shutdown_write() noexcept;
  /// Writes what it can of `length` bytes, 1 or more, of the file `file` from `offset` on. No bytes
  /// and no error: the file is shorter. By default, `std::errc::operation_not_supported`: the
  /// stream then reads the file itself.
  virtual Result write_file(native_handle_type file, std::uint64_t offset,
                            std::size_t length) noexcept;
  /// The native handle; `Socket::invalid_handle` when there is none, or it was closed.
  virtual native_handle_type fileno() const noexcept;

  /// Of a layer: a wait of the backend below it is over. By default it does nothing.
  virtual void on_lower_ready(Interest interest, std::error_code error);
};

}  // namespace tornado
