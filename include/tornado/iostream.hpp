// SPDX-License-Identifier: Apache-2.0
//
// tornado/iostream.hpp: buffered reading and writing without blocking.
//
// A stream belongs to the IOLoop that was current when it was made, and to that loop's thread.
#pragma once

#include "tornado/detail/callback.hpp"
#include "tornado/gen.hpp"
#include "tornado/netutil.hpp"
#include "tornado/regex.hpp"
#include "tornado/ssl.hpp"
#include "tornado/stream_backend.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace tornado {

namespace detail {
class StreamCore;
}  // namespace detail

/// Why a stream was closed by the library itself.
enum class StreamErrc {
  closed = 1,          ///< It is closed; no error was the cause.
  unsatisfiable_read,  ///< A delimiter, or what a regular expression matches, did not come within
                       ///< `max_bytes`. Python: `UnsatisfiableReadError`.
  buffer_full,         ///< More than `max_buffer_size` came before a read was satisfied.
  truncated,           ///< A TLS connection has ended without the other end having said so: what
                       ///< came may not be all. Python: `ssl.SSLEOFError`.
  file_truncated,      ///< A file became shorter than what write_file was to send of it.
  regex_limit,         ///< To look for a regular expression cost too much time or memory.
};
/// The category of StreamErrc.
TORNADO_EXPORT const std::error_category& stream_category() noexcept;
TORNADO_EXPORT std::error_code make_error_code(StreamErrc error) noexcept;

/// The stream is closed, and the operation cannot be done any more. Python: `StreamClosedError`.
class TORNADO_EXPORT StreamClosedError : public IOError {
 public:
  /// \param doing  what could not be done, for the message.
  explicit StreamClosedError(std::error_code real_error = {}, const std::string& doing = {});
  StreamClosedError(const StreamClosedError&) noexcept;
  StreamClosedError& operator=(const StreamClosedError&) noexcept;
  ~StreamClosedError() override;

  /// What closed it: a system error (connection reset, refused, timed out), a StreamErrc, or
  /// nothing when either side closed it in order.
  const std::error_code& real_error() const noexcept { return real_error_; }

 private:
  std::error_code real_error_;
};

/// A buffer limit was reached. Python: `StreamBufferFullError`.
class TORNADO_EXPORT StreamBufferFullError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  StreamBufferFullError(const StreamBufferFullError&) noexcept;
  StreamBufferFullError& operator=(const StreamBufferFullError&) noexcept;
  ~StreamBufferFullError() override;
};

/// Python's keyword arguments of IOStream, and what it does not have.
struct IOStreamOptions {
  /// Most bytes that are read and not yet asked for; 1 or more.
  std::size_t max_buffer_size = 104857600;
  /// Bytes asked of the system at a time, 1 or more; half of max_buffer_size at the most.
  std::size_t read_chunk_size = 65536;
  /// Most bytes that are written and not yet sent; 0 for no limit.
  std::size_t max_write_buffer_size = 0;

  // Not in Python.
  /// `drain` waits while more bytes than this are written and not yet sent; 0 for any.
  std::size_t write_watermark = 65536;
  /// A write is done at once while no more than write_watermark bytes, its own included, wait to be
  /// sent. Off, it is done when its bytes are with the system, as in Tornado, and awaiting each of
  /// many small writes costs a system call for each.
  bool buffered_writes = false;
  /// The stream stays open, for writing, when the other end sends no more: until `close`, or
  /// `shutdown_write`. Off, it closes then, as in Tornado.
  bool allow_half_open = false;

  friend bool operator==(const IOStreamOptions&, const IOStreamOptions&) = default;
};

/// Whether a read is content with less than all it asked for, as soon as there is anything.
enum class Partial : bool { no, yes };

class SSLIOStream;

/// A connection. Python: `tornado.iostream.IOStream`.
///
///     IOStream stream(Socket::tcp(AF_INET));
///     co_await stream.connect(Address("127.0.0.1", 8888));
///     stream.write("GET / HTTP/1.0\r\n\r\n");
///     std::string headers = co_await stream.read_until("\r\n\r\n");
///
/// A handle: copies share one stream. What was written leaves, and a pending read goes on, also
/// when the last handle has gone; with nothing pending the last handle closes the stream. A
/// default-constructed or moved-from handle means no stream, and may only be assigned to.
///
/// One read at a time: a second throws std::logic_error while the first is pending. Any number of
/// writes. When the stream is closed, by either side, a read that what came before can satisfy
/// still succeeds. All other Futures fail with StreamClosedError, and no log line is written if
/// nobody looks at them.
///
/// Cancelling a read leaves its bytes in the stream. Cancelling a connect closes the stream.
/// Cancelling a write only takes the waiting back: its bytes leave.
class TORNADO_EXPORT IOStream {
 public:
  IOStream() noexcept = default;
  /// A stream over a TCP or Unix socket, connected or not.
  ///
  /// \throws std::invalid_argument  when an option is out of range.
  /// \throws std::system_error      when the socket is closed, or is not a stream socket.
  explicit IOStream(Socket socket, const IOStreamOptions& options = {});
  /// A stream over something else.
  ///
  /// \throws std::invalid_argument  when `backend` is null, or an option is out of range.
  explicit IOStream(std::unique_ptr<StreamBackend> backend, const IOStreamOptions& options = {});

  IOStream(const IOStream& other) noexcept;
  IOStream(IOStream&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  IOStream& operator=(IOStream other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~IOStream();

  /// It means a stream.
  explicit operator bool() const noexcept { return core_ != nullptr; }
  /// Both mean the same stream.
  friend bool operator==(const IOStream& a, const IOStream& b) noexcept {
    return a.core_ == b.core_;
  }

  /// Connects to `address`. What is written meanwhile is sent afterwards.
  ///
  /// \returns  this stream, once connected.
  /// \throws std::logic_error  when it is connecting, or connected.
  /// \par Fails with
  ///   `StreamClosedError`, whose `real_error` says why; the stream is closed then.
  Future<IOStream> connect(const Address& address) const;

  /// Reads `count` bytes; with `Partial::yes` 1 to `count`, as soon as there are any. 0 bytes are
  /// read at once.
  [[nodiscard]] Future<std::string> read_bytes(std::size_t count,
                                               Partial partial = Partial::no) const;
  /// Reads up to and including `delimiter`; what follows it stays in the stream.
  ///
  /// \param delimiter  1 byte or more; copied.
  /// \param max_bytes  the delimiter must end within so many bytes, or the stream is closed with
  ///                   StreamErrc::unsatisfiable_read. None for no limit but max_buffer_size.
  /// \throws std::invalid_argument  when `delimiter` is empty.
  [[nodiscard]] Future<std::string> read_until(
      std::string_view delimiter, std::optional<std::size_t> max_bytes = std::nullopt) const;
  /// Reads up to and including the first match of `regex`; what follows it stays in the stream.
  ///
  ///     std::string headers = co_await stream.read_until_regex("\r?\n\r?\n", 65536);
  ///
  /// It is looked for, as in Python, in the bytes that have come and were not read, each time more
  /// come. So what may match more or less matches what is there: `a+` does not wait for another
  /// `a`, and `$` and `\Z` are where the bytes end for the time being. What matches nothing gives
  /// an empty string, as soon as there is a byte. `^` and `\A` are where the read begins.
  ///
  /// A byte that no match can begin at is not looked at again. A pattern may yet take more time
  /// than its input is worth; a search that does, above some tens of milliseconds and 60 more for
  /// each megabyte in the buffer, or that needs above 32 MB of memory, closes the stream with
  /// StreamErrc::regex_limit.
  ///
  /// \param regex      see Regex, whose errors come from here when it is made from text.
  /// \param max_bytes  the match must end within so many bytes, or the stream is closed with
  ///                   StreamErrc::unsatisfiable_read. None for no limit but max_buffer_size.
  [[nodiscard]] Future<std::string> read_until_regex(
      const Regex& regex, std::optional<std::size_t> max_bytes = std::nullopt) const;
  /// Fills `buffer`, which must live until the Future is done; with `Partial::yes` as much of it as
  /// there are bytes, 1 or more. More than fits stays in the stream.
  ///
  /// \returns  how many bytes were put there.
  [[nodiscard]] Future<std::size_t> read_into(std::span<char> buffer,
                                              Partial partial = Partial::no) const;
  /// Reads all that comes until the stream is closed, by whatever.
  [[nodiscard]] Future<std::string> read_until_close() const;

  /// Writes. The bytes leave at the end of the loop's turn, together with what else was written;
  /// `flush` sends them now. The Future, which need not be kept, is done when they are all with the
  /// system. `data` is copied, or taken over when it is an rvalue string.
  ///
  /// \par Fails with
  ///   `StreamClosedError`; or `StreamBufferFullError` when it would exceed max_write_buffer_size,
  ///   and then the stream stays open and nothing of `data` is sent.
  Future<void> write(std::string_view data) const;
  Future<void> write(std::string&& data) const;
  Future<void> write(const std::string& data) const { return write(std::string_view(data)); }
  Future<void> write(const char* data) const { return write(std::string_view(data)); }
  /// Sends `length` bytes of a file from `offset` on, in order with what is written before and
  /// after; where the system has sendfile, without copying them. Read errors of the disk apart, it
  /// needs no memory, and does not count for max_write_buffer_size. Reading from a slow disk blocks
  /// the loop. Not in Python.
  ///
  /// \param file    a regular file that is open for reading. Its position does not matter, and it
  ///                may be closed when the call has returned.
  /// \param length  none for all that the file has now.
  /// \returns  how many bytes that were.
  /// \par Fails with
  ///   `StreamClosedError`, with StreamErrc::file_truncated when the file shrinks meanwhile; or
  ///   `std::system_error` when there is no such file, or no such part of it: then the stream stays
  ///   open and nothing is sent.
  Future<std::uint64_t> write_file(const std::string& path, std::uint64_t offset = 0,
                                   std::optional<std::uint64_t> length = std::nullopt) const;
  Future<std::uint64_t> write_file(native_handle_type file, std::uint64_t offset = 0,
                                   std::optional<std::uint64_t> length = std::nullopt) const;
  /// Waits for a slow reader: done at once while no more than write_watermark bytes wait to be
  /// sent; otherwise when they have fallen to a quarter of that. Not in Python: there, `await` the
  /// write itself.
  ///
  ///     while (auto row = co_await rows.next()) {
  ///       stream.write(format(*row));
  ///       co_await stream.drain();
  ///     }
  ///
  /// \par Fails with
  ///   `StreamClosedError`.
  Future<void> drain() const;
  /// Ends writing, and goes on reading: tells the other end, behind all that was written, that no
  /// more will come. Writing is misuse from here on: std::logic_error. The stream closes when both
  /// ends have ended. A second call gives the same Future. Not in Python.
  ///
  /// \returns  when the other end has been told.
  /// \par Fails with
  ///   `StreamClosedError`; or `std::system_error`, `operation_not_supported`, when the stream
  ///   cannot do that.
  Future<void> shutdown_write() const;
  /// Sends now what the system takes of what was written.
  void flush() const;

  /// Closes. What was written is offered to the system once; a pending read gets what it can be
  /// given, the other Futures fail with StreamClosedError; then the close callback runs. A second
  /// close does nothing.
  ///
  /// \param error  why: the `real_error` of those who wait.
  void close(std::error_code error = {}) const;
  /// Calls `callback()` once, in an iteration of its own, when the stream is closed; soon, if it is
  /// closed already. Replaces an earlier one; nullptr means none.
  ///
  /// So that a close is noticed while nothing is read, an idle stream with a callback and an empty
  /// buffer reads ahead, at most one chunk.
  template <class F>
  void set_close_callback(F&& callback) const {
    set_close_job(detail::make_job(std::forward<F>(callback)));
  }
  void set_close_callback(std::nullptr_t) const { set_close_job(nullptr); }

  /// Goes on encrypted. The stream stays the same one, and keeps its options and close callback; in
  /// Python the old object is of no more use.
  ///
  ///     stream.write("STARTTLS\r\n");
  ///     co_await stream.read_until("\r\n");
  ///     SSLIOStream tls = co_await stream.start_tls(ServerSide::no, {}, "mail.example.com");
  ///
  /// \param context          none: `SSLContext::client()`; a server has to have one.
  /// \param server_hostname  of a client: as for SSLIOStream::connect.
  /// \param session          of a client: one to resume.
  /// \returns  this stream, when the handshake is done.
  /// \throws std::logic_error       when it is not idle: a read is pending, it connects, something
  ///                                that was written cannot be sent at once, or something that came
  ///                                was not read. It stays as it is.
  /// \throws std::invalid_argument  when the context is the other side's, a server has none, or a
  ///                                client verifies and has no name to check.
  /// \par Fails with
  ///   `StreamClosedError`, as SSLIOStream::connect.
  ///
  /// Cancelling it closes the stream.
  Future<SSLIOStream> start_tls(ServerSide server_side, const SSLContext& context = {},
                                std::string_view server_hostname = {},
                                const SSLSession& session = {}) const;
  Future<SSLIOStream> start_tls(ServerSide server_side,
                                const std::same_as<SSLOptions> auto& ssl_options,
                                std::string_view server_hostname = {}) const;

  bool closed() const noexcept;
  /// A read is pending.
  bool reading() const noexcept;
  /// Something that was written has not been sent.
  bool writing() const noexcept;
  /// How many bytes the other end sent, and how many were sent to it, up to now. Not in Python.
  std::uint64_t bytes_read() const noexcept;
  std::uint64_t bytes_written() const noexcept;
  /// What closed it: as StreamClosedError::real_error. Python: `stream.error`.
  std::error_code error() const noexcept;
  /// The IOStreamOptions, as they were given.
  const IOStreamOptions& options() const noexcept;

  /// \throws std::system_error  from here on: when the stream is closed, or has no socket, or the
  ///                            system refuses.
  Address local_address() const;
  /// Python: `stream.socket.getpeername()`.
  Address remote_address() const;
  /// TCP_NODELAY: do not wait for more before sending a small packet.
  void set_nodelay(bool on) const;
  /// SO_KEEPALIVE: notice a dead peer on an idle connection.
  void set_keepalive(bool on) const;
  /// SO_SNDBUF and SO_RCVBUF, in bytes.
  void set_send_buffer_size(int bytes) const;
  void set_receive_buffer_size(int bytes) const;
  /// Any option whose value is an int, with the constants of the system's headers.
  void setsockopt(int level, int option, int value) const;
  int getsockopt(int level, int option) const;

  /// The native handle, which stays the stream's; `Socket::invalid_handle` when closed.
  native_handle_type fileno() const noexcept;

 private:
  friend detail::StreamCore;
  friend SSLIOStream;
  explicit IOStream(detail::StreamCore* core) noexcept;
  void set_close_job(detail::Node* job) const;

  detail::StreamCore* core_ = nullptr;
};

/// A stream over a pipe's end, a terminal, or any other descriptor that can be polled and carries
/// bytes. Python: `tornado.iostream.PipeIOStream`.
///
///     int ends[2];
///     pipe(ends);
///     PipeIOStream reader(ends[0]);
///     PipeIOStream writer(ends[1]);
///     writer.write("hello\n");
///     std::string line = co_await reader.read_until("\n");
///
/// It adds no data to IOStream, and may be kept as one. What belongs to sockets (`connect`,
/// addresses, options) fails; `shutdown_write` closes the writing end of a pipe.
///
/// When the reader of a pipe has gone, writing closes the stream with `std::errc::broken_pipe`, and
/// no SIGPIPE is raised, whatever the program does with that signal. An idle writer notices if it
/// has a close callback. A read from the writing end waits for the same.
class TORNADO_EXPORT PipeIOStream : public IOStream {
 public:
  PipeIOStream() noexcept = default;
  /// \param fd  becomes the stream's, close-on-exec, and non-blocking: with it every descriptor of
  ///            the same open file, such as the shell's of a terminal. If the constructor throws,
  ///            it is still the caller's, and open.
  /// \throws std::invalid_argument  when an option is out of range.
  /// \throws std::system_error      when `fd` is closed, or of a kind that cannot be polled: a
  ///                                regular file, for example.
  explicit PipeIOStream(native_handle_type fd, const IOStreamOptions& options = {});
};

/// An encrypted connection. Python: `tornado.iostream.SSLIOStream`.
///
///     SSLIOStream stream(Socket::tcp(AF_INET));
///     co_await stream.connect(address, "example.com");
///     stream.write("GET / HTTP/1.0\r\n\r\n");
///
/// It is read and written as any IOStream. What is written before the handshake is done is sent
/// behind it. An error in the handshake closes the stream; it goes to whoever waits for the
/// handshake, and is logged, as a warning, when nobody does.
///
/// When the other end closes in order (with a close_notify) that is the end, as for IOStream. When
/// the connection ends without, `error()` is StreamErrc::truncated. `close` sends a close_notify,
/// and does not wait for an answer.
class TORNADO_EXPORT SSLIOStream : public IOStream {
 public:
  SSLIOStream() noexcept = default;
  /// A client's stream over a TCP or Unix socket, which it encrypts once connected: by `connect`,
  /// or now if it is connected already.
  ///
  /// \param context          none: `SSLContext::client()`.
  /// \param server_hostname  as for `connect`.
  /// \throws std::invalid_argument  when an option is out of range; when the context is a server's;
  ///                                when the socket is connected, the context verifies, and there
  ///                                is no server_hostname.
  /// \throws std::system_error      when the socket is closed, or is not a stream socket.
  explicit SSLIOStream(Socket socket, const SSLContext& context = {},
                       std::string_view server_hostname = {}, const IOStreamOptions& options = {});
  explicit SSLIOStream(Socket socket, const std::same_as<SSLOptions> auto& ssl_options,
                       std::string_view server_hostname = {}, const IOStreamOptions& options = {})
      : SSLIOStream(std::move(socket), netutil::ssl_options_to_context(ssl_options, ServerSide::no),
                    server_hostname, options) {}
  /// A stream of either side over a connected socket. The handshake begins now.
  explicit SSLIOStream(Socket socket, ServerSide server_side, const SSLContext& context,
                       const IOStreamOptions& options = {});
  /// The same stream as `stream`, which is known to be encrypted: TCPServer's handle_stream gets it
  /// as an IOStream.
  ///
  /// \throws std::invalid_argument  when it is not encrypted.
  explicit SSLIOStream(IOStream stream);

  /// Connects to `address`.
  ///
  /// \param server_hostname  the name to ask for, and that the certificate has to be for; or an IP
  ///                         address, which is checked but not asked for. Empty: what the
  ///                         constructor got.
  /// \param session          of an earlier connection to the same server, to be resumed if that
  ///                         can be.
  /// \returns  this stream, when the handshake is done.
  /// \throws std::logic_error       when it is connecting, or connected.
  /// \throws std::invalid_argument  when the context verifies and there is no name to check.
  /// \par Fails with
  ///   `StreamClosedError`, whose `real_error` says why: a certificate that was not accepted in
  ///   `ssl_verify_category()`, other errors of TLS in `ssl_category()`, StreamErrc::truncated when
  ///   the other end has closed. The stream is closed then.
  ///
  /// Cancelling it closes the stream.
  Future<SSLIOStream> connect(const Address& address, std::string_view server_hostname = {},
                              const SSLSession& session = {}) const;

  /// Waits until the handshake is done: for a server, or where `connect` or `start_tls` is not
  /// waited for.
  ///
  /// \returns  this stream; at once when it is done.
  /// \throws std::logic_error  when it is being waited for already.
  /// \par Fails with
  ///   `StreamClosedError`, as `connect`.
  ///
  /// Cancelling it only takes the waiting back.
  Future<SSLIOStream> wait_for_handshake() const;

  // From here on: empty before the handshake is done.

  /// What was agreed on by ALPN; empty for nothing.
  std::string selected_alpn_protocol() const;
  /// "TLSv1.2" or "TLSv1.3".
  std::string version() const;
  /// The cipher's name, as OpenSSL spells it. Python's `cipher()[0]`.
  std::string cipher() const;
  /// Of a server: the name that the client asked for (SNI); empty for none.
  std::string server_name() const;
  /// What the other end has shown, also when it was not verified. Python: `getpeercert`.
  std::optional<SSLCertificate> peer_certificate() const;
  /// For a later connection; none when there is nothing to be resumed. With TLS 1.3 it comes behind
  /// the handshake: ask when something was read. Python: `session`.
  SSLSession session() const;
  /// Python: `session_reused`.
  bool session_reused() const noexcept;

  /// The `SSL*`, for what there is no function for here. It stays the stream's; nothing that reads,
  /// writes or shuts down may be called with it.
  void* native_handle() const noexcept;

 private:
  friend detail::StreamCore;
  explicit SSLIOStream(detail::StreamCore* core) noexcept;
};

Future<SSLIOStream> IOStream::start_tls(ServerSide server_side,
                                        const std::same_as<SSLOptions> auto& ssl_options,
                                        std::string_view server_hostname) const {
  return start_tls(server_side, netutil::ssl_options_to_context(ssl_options, server_side),
                   server_hostname);
}

/// What `pump` does.
struct PumpOptions {
  /// Stops after so many bytes; both streams stay as they are.
  std::uint64_t max_bytes = static_cast<std::uint64_t>(-1);
  /// Most bytes that are moved at a time, 1 or more.
  std::size_t chunk_size = 65536;
  /// Calls `to.shutdown_write()` when `from` has ended in order.
  bool shutdown_write = true;
};

/// Copies what comes from one stream to another: the loop of every proxy. While `to` has more than
/// its write_watermark to send, nothing is read. `from` is not closed when its other end sends no
/// more, now or later, so that what goes the other way can go on
/// (IOStreamOptions::allow_half_open).
///
/// Where it ends before `from` does, what was not copied can still be read. Cancelling it loses
/// nothing that was read.
///
/// \returns  how many bytes were copied, when `from` has ended in order and `to` was told so, or
///           after max_bytes.
/// \par Fails with
///   `StreamClosedError` when either is closed otherwise; what `to.write` and `to.shutdown_write`
///   fail with.
TORNADO_EXPORT Future<std::uint64_t> pump(IOStream from, IOStream to, PumpOptions options = {});

}  // namespace tornado

template <>
struct std::is_error_code_enum<tornado::StreamErrc> : std::true_type {};
