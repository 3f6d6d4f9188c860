// SPDX-License-Identifier: Apache-2.0
#include "tornado/iostream.hpp"

#include "pipe_backend.hpp"
#include "socket_access.hpp"
#include "socket_backend.hpp"
#include "stream_core.hpp"

#include <cerrno>
#include <string>
#include <utility>

#include <fcntl.h>

namespace tornado {
namespace {

class StreamCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "tornado.iostream"; }
  std::string message(int code) const override {
    switch (static_cast<StreamErrc>(code)) {
      case StreamErrc::closed:
        return "Stream is closed";
      case StreamErrc::unsatisfiable_read:
        return "Unsatisfiable read: delimiter not found within max_bytes";
      case StreamErrc::buffer_full:
        return "Reached maximum read buffer size";
      case StreamErrc::truncated:
        return "The TLS connection has ended without a close_notify";
      case StreamErrc::file_truncated:
        return "The file is shorter than what was to be sent of it";
      case StreamErrc::regex_limit:
        return "Unsatisfiable read: looking for the regular expression costs too much";
    }
    return "unknown error";
  }
};

IOError describe_close(const std::error_code& real_error, const std::string& doing) {
  const std::error_code code = real_error ? real_error : make_error_code(StreamErrc::closed);
  if (!doing.empty()) return IOError(code, doing);
  return real_error ? IOError(code, "Stream is closed") : IOError(code);
}

detail::BorrowedSocket borrowed(const detail::StreamCore& core) {
  return detail::BorrowedSocket(core.fileno());
}

std::exception_ptr open_error(const std::string& what) {
  return std::make_exception_ptr(
      std::system_error(errno, std::system_category(), "IOStream::write_file: " + what));
}

}  // namespace

const std::error_category& stream_category() noexcept {
  static const StreamCategory category;
  return category;
}

std::error_code make_error_code(StreamErrc error) noexcept {
  return {static_cast<int>(error), stream_category()};
}

StreamClosedError::StreamClosedError(std::error_code real_error, const std::string& doing)
    : IOError(describe_close(real_error, doing)), real_error_(real_error) {}
StreamClosedError::StreamClosedError(const StreamClosedError&) noexcept = default;
StreamClosedError& StreamClosedError::operator=(const StreamClosedError&) noexcept = default;
StreamClosedError::~StreamClosedError() = default;

StreamBufferFullError::StreamBufferFullError(const StreamBufferFullError&) noexcept = default;
StreamBufferFullError& StreamBufferFullError::operator=(const StreamBufferFullError&) noexcept =
    default;
StreamBufferFullError::~StreamBufferFullError() = default;

IOStream::IOStream(Socket socket, const IOStreamOptions& options)
    : IOStream(detail::make_socket_backend(std::move(socket)), options) {}

IOStream::IOStream(std::unique_ptr<StreamBackend> backend, const IOStreamOptions& options)
    : core_(new detail::StreamCore(std::move(backend), options)) {}

IOStream::IOStream(detail::StreamCore* core) noexcept : core_(core) { core_->add_handle(); }

IOStream::IOStream(const IOStream& other) noexcept : core_(other.core_) {
  if (core_ != nullptr) core_->add_handle();
}

IOStream::~IOStream() {
  if (core_ != nullptr) core_->drop_handle();
}

Future<IOStream> IOStream::connect(const Address& address) const { return core_->connect(address); }
Future<std::string> IOStream::read_bytes(std::size_t count, Partial partial) const {
  return core_->read_bytes(count, partial);
}
Future<std::string> IOStream::read_until(std::string_view delimiter,
                                         std::optional<std::size_t> max_bytes) const {
  return core_->read_until(delimiter, max_bytes);
}
Future<std::string> IOStream::read_until_regex(const Regex& regex,
                                               std::optional<std::size_t> max_bytes) const {
  return core_->read_until_regex(regex, max_bytes);
}
Future<std::size_t> IOStream::read_into(std::span<char> buffer, Partial partial) const {
  return core_->read_into(buffer, partial);
}
Future<std::string> IOStream::read_until_close() const { return core_->read_until_close(); }
Future<void> IOStream::write(std::string_view data) const { return core_->write(data); }
Future<void> IOStream::write(std::string&& data) const { return core_->write(std::move(data)); }
Future<std::uint64_t> IOStream::write_file(const std::string& path, std::uint64_t offset,
                                           std::optional<std::uint64_t> length) const {
  detail::OwnedFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return detail::failed<std::uint64_t>(open_error(path), false);
  return core_->write_file(std::move(file), offset, length);
}
Future<std::uint64_t> IOStream::write_file(native_handle_type file, std::uint64_t offset,
                                           std::optional<std::uint64_t> length) const {
  detail::OwnedFile copy(::fcntl(file, F_DUPFD_CLOEXEC, 0));
  if (copy.get() < 0) return detail::failed<std::uint64_t>(open_error("the file"), false);
  return core_->write_file(std::move(copy), offset, length);
}
Future<void> IOStream::drain() const { return core_->drain(); }
Future<void> IOStream::shutdown_write() const { return core_->shutdown_write(); }
void IOStream::flush() const { core_->flush(); }
void IOStream::close(std::error_code error) const { core_->close(error); }
void IOStream::set_close_job(detail::Node* job) const { core_->set_close_job(job); }

bool IOStream::closed() const noexcept { return core_->closed(); }
bool IOStream::reading() const noexcept { return core_->reading(); }
bool IOStream::writing() const noexcept { return core_->writing(); }
std::uint64_t IOStream::bytes_read() const noexcept { return core_->bytes_read(); }
std::uint64_t IOStream::bytes_written() const noexcept { return core_->bytes_written(); }
std::error_code IOStream::error() const noexcept { return core_->error(); }
const IOStreamOptions& IOStream::options() const noexcept { return core_->options(); }
native_handle_type IOStream::fileno() const noexcept { return core_->fileno(); }

Future<SSLIOStream> IOStream::start_tls(ServerSide server_side, const SSLContext& context,
                                        std::string_view server_hostname,
                                        const SSLSession& session) const {
  return core_->start_tls(server_side, context, server_hostname, session);
}

Address IOStream::local_address() const { return borrowed(*core_)->local_address(); }
Address IOStream::remote_address() const { return borrowed(*core_)->remote_address(); }
void IOStream::set_nodelay(bool on) const { borrowed(*core_)->set_nodelay(on); }
void IOStream::set_keepalive(bool on) const { borrowed(*core_)->set_keepalive(on); }
void IOStream::set_send_buffer_size(int bytes) const {
  borrowed(*core_)->set_send_buffer_size(bytes);
}
void IOStream::set_receive_buffer_size(int bytes) const {
  borrowed(*core_)->set_receive_buffer_size(bytes);
}
void IOStream::setsockopt(int level, int option, int value) const {
  borrowed(*core_)->setsockopt(level, option, value);
}
int IOStream::getsockopt(int level, int option) const {
  return borrowed(*core_)->getsockopt(level, option);
}

PipeIOStream::PipeIOStream(native_handle_type fd, const IOStreamOptions& options)
    : IOStream(detail::make_pipe_stream(fd, options)) {}

}  // namespace tornado
