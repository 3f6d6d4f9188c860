// SPDX-License-Identifier: Apache-2.0
//
// tornado/asio.hpp: the bridge to Asio, and the only header here that includes any of it.
//
// For programs that have an io_context, sockets and coroutines of Asio's already:
// docs/from-asio.md.
#pragma once

#if !defined(TORNADO_STATIC) && !defined(TORNADO_BUILDING_LIBRARY)
#error "<tornado/asio.hpp> needs the static library: a shared one hides its Asio from the program's"
#endif

#include "tornado/concurrent.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/ssl.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/recycling_allocator.hpp>
#include <asio/strand.hpp>
#include <asio/version.hpp>

// Behind Asio's.
#include "tornado/detail/asio_check.hpp"

#include <memory>
#include <string>
#include <utility>

namespace tornado {

/// A loop on an `io_context` that the program owns, and runs: the loop's callbacks, coroutines and
/// streams have their turns among the program's own handlers.
///
///     asio::io_context io;
///     const auto loop = make_ioloop(io);
///     loop->add_callback(serve);  // a coroutine
///     io.run();
///
/// One thread at a time runs the context; the program is ended with a message when two are found in
/// the loop's callbacks at once. In those `IOLoop::current()` is the loop. In the program's own
/// handlers it is the thread's current loop: `make_current()`, on the thread that runs the context,
/// makes it this one.
///
/// `io.run()` goes on while something is pending: callbacks, timeouts, reads, writes that wait,
/// handlers of `add_handler` (so every listening TCPServer), work on other threads, and what waits
/// for those. A loop with nothing to do does not keep it from returning.
///
/// `start` and `run_sync` run the context, and with it the program's own handlers, until `stop`;
/// they leave it ready to be run again. `stop` ends no other run. `close`, or the destructor, ends
/// what is the loop's, and leaves the context as it is. A context that is destroyed first closes
/// the loop.
///
/// \param make_current  as for IOLoop's constructor.
/// \throws std::system_error  when the system has no descriptors left.
TORNADO_EXPORT std::unique_ptr<IOLoop> make_ioloop(
    asio::io_context& context, IOLoop::MakeCurrent make_current = IOLoop::MakeCurrent::if_none);

/// The same for a context that several threads run: every handler of the loop's goes through
/// `strand`.
TORNADO_EXPORT std::unique_ptr<IOLoop> make_ioloop(
    const asio::strand<asio::io_context::executor_type>& strand,
    IOLoop::MakeCurrent make_current = IOLoop::MakeCurrent::if_none);

/// The io_context of `loop`, its own or the one that it adapts: for Asio objects of the program's
/// own, whose handlers then run between the loop's. Its own is valid until the loop is closed; in
/// the handlers there `IOLoop::current()` is `loop`, and an exception that leaves one is logged.
///
/// \throws std::logic_error  when the loop has been closed.
TORNADO_EXPORT asio::io_context& get_io_context(IOLoop& loop);

/// Where the handlers of `loop` run: the executor of its io_context, or the strand.
///
/// \throws std::logic_error  when the loop has been closed.
TORNADO_EXPORT asio::any_io_executor get_executor(IOLoop& loop);

/// The type of `as_future`.
class AsFuture {
 public:
  constexpr AsFuture() noexcept {}
};

/// A completion token: an Asio operation that gets it returns a Future.
///
///     asio::steady_timer timer(get_executor(loop), 1s);
///     co_await timer.async_wait(as_future);
///     std::size_t n = co_await asio::async_read(socket, buffer, as_future);
///
/// Of a handler's parameters, an `error_code` or `exception_ptr` in front is the error, and the
/// rest the value: none, one, or a `std::tuple` of several. The operation is begun by the call. It
/// completes on the loop that is current there, whatever context the Asio object belongs to.
///
/// \par Fails with
///   `std::system_error`, in `std::system_category()` where it is the system's (in Asio's own
///   categories where not: end of file, resolver, TLS); what the `exception_ptr` holds;
///   `std::future_error` (broken promise) when the operation is dropped by its context.
///
/// Cancelling it emits a cancellation signal, which the operation may heed or not; the Future is
/// done when the operation has really ended, and so are its buffers. An operation that ends with a
/// value all the same delivers that. The signal is emitted on the loop's thread: do not cancel
/// what another thread is working on.
inline constexpr AsFuture as_future;

/// Waits for a Future as Asio does: with any completion token, whose signature is
/// `void(std::exception_ptr, T)`, or `void(std::exception_ptr)` for `Future<void>`.
///
///     asio::awaitable<void> session() {
///       std::string line = co_await tornado::async_wait(stream.read_until("\n"),
///       asio::use_awaitable);
///     }
///
/// Called on the thread of the Future's loop. The handler is posted to its associated executor, by
/// default the loop's, which may be elsewhere. T is moved if it must, else copied; where there is
/// an error the handler gets a T(). A cancelled Future is `std::system_error` with
/// `asio::error::operation_aborted`, and so is one whose loop is closed.
///
/// The handler's cancellation slot cancels the Future, unless a coroutine waits for it too; then it
/// only ends the wait.
template <class T, class Token>
auto async_wait(Future<T> future, Token&& token);

/// A stream over a connected socket of Asio's, TCP or Unix, on the current loop, whatever context
/// the socket was on. What is pending on the socket is aborted.
///
/// \throws std::invalid_argument  when an option is out of range.
/// \throws std::system_error      when the socket is not open, or the system refuses.
template <class Protocol, class Executor>
IOStream make_iostream(asio::basic_stream_socket<Protocol, Executor> socket,
                       const IOStreamOptions& options = {});

/// The context of an `asio::ssl::context`, or of another class whose `native_handle()` is an
/// `SSL_CTX*`: what is changed in one shows in the other. It needs a library with TLS.
///
///     asio::ssl::context context(asio::ssl::context::tls_client);
///     SSLIOStream stream(Socket::tcp(AF_INET), make_ssl_context(context));
///
/// It is used as it is, with the versions of TLS that it allows. A verify callback set through Asio
/// is Asio's, and belongs to the `asio::ssl::context`, which then has to live as long. A client
/// also checks the name itself, unless `set_check_hostname(false)`.
template <class Context>
SSLContext make_ssl_context(Context& context) {
  return detail::share_ssl_context(context.native_handle());
}

/// What `release_socket` gives.
template <class Protocol = asio::ip::tcp>
class ReleasedSocket {
 public:
  ReleasedSocket(typename Protocol::socket the_socket, std::string the_bytes)
      : socket(std::move(the_socket)), received(std::move(the_bytes)) {}
  typename Protocol::socket socket;  ///< On the stream's loop's executor; nothing is pending.
  std::string received;              ///< What came and was not asked for: read this first.
};

/// Takes the socket out of a stream, when what was written has been sent. The stream is closed
/// then, the connection is not; its close callback is not called.
///
///     auto [socket, received] = co_await release_socket(stream);
///
/// \tparam Protocol  the socket's: `asio::ip::tcp` or `asio::local::stream_protocol`.
/// \throws std::invalid_argument  when it has another.
/// \throws std::logic_error       when a read is pending, or the stream is connecting, or has no
///                                socket.
/// \par Fails with
///   `StreamClosedError`; `std::logic_error` when a read is begun meanwhile. The stream stays as it
///   is then, and also when this is cancelled.
template <class Protocol = asio::ip::tcp>
Future<ReleasedSocket<Protocol>> release_socket(IOStream stream);

/// An IOStream as Asio's algorithms want a stream (AsyncReadStream, AsyncWriteStream).
///
///     AsioStream stream(std::move(iostream));
///     asio::ssl::stream<AsioStream&> tls(stream, context);
///     std::size_t n = co_await asio::async_read_until(stream, buffer, "\r\n", as_future);
///
/// A handle, like the IOStream, whose other operations may be used too, but for one read at a time.
/// Errors are Asio's: `asio::error::eof` where the connection has ended, `operation_aborted` where
/// the operation was cancelled.
class AsioStream {
 public:
  using executor_type = asio::any_io_executor;
  using next_layer_type = IOStream;
  using lowest_layer_type = AsioStream;

  /// \throws std::logic_error  when the stream's loop has been closed.
  explicit AsioStream(IOStream stream);

  /// The executor of the stream's loop.
  executor_type get_executor() const noexcept { return executor_; }
  IOStream& next_layer() noexcept { return stream_; }
  const IOStream& next_layer() const noexcept { return stream_; }
  lowest_layer_type& lowest_layer() noexcept { return *this; }
  const lowest_layer_type& lowest_layer() const noexcept { return *this; }

  /// Reads what there is, 1 byte or more, into the first of `buffers` that is not empty.
  /// Signature: `void(std::error_code, std::size_t)`.
  ///
  /// \throws std::logic_error  when another read is pending.
  template <class MutableBuffers, class Token>
  auto async_read_some(const MutableBuffers& buffers, Token&& token);
  /// Writes up to 64 KiB of `buffers`, which are copied. Done when the bytes are with the system.
  /// Signature: `void(std::error_code, std::size_t)`.
  ///
  /// Cancelling it only ends the waiting.
  template <class ConstBuffers, class Token>
  auto async_write_some(const ConstBuffers& buffers, Token&& token);

 private:
  IOStream stream_;
  asio::any_io_executor executor_;
};

}  // namespace tornado

#include "tornado/detail/asio_inl.hpp"
