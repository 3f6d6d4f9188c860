// SPDX-License-Identifier: Apache-2.0
//
// tests/stream_support.hpp: what tests of streams and servers use, beside tests/socket_support.hpp.
#pragma once

#include "socket_support.hpp"
#include "tls_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"
#include "tornado/log.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>

namespace test {

inline constexpr std::size_t kb = 1024;
inline constexpr std::size_t mb = 1024 * kb;

// ---- Waiting

/// Runs the loop until `future` is done, and gives its result.
template <class T>
T result(Loop& loop, const tornado::Future<T>& future) {
  return loop.run([&future] { return future; });
}

/// Runs the loop until `future` fails with StreamClosedError, and gives the reason in it. The test
/// fails if it ends otherwise.
template <class T>
std::error_code why_closed(Loop& loop, const tornado::Future<T>& future) {
  try {
    result(loop, future);
  } catch (const tornado::StreamClosedError& error) {
    return error.real_error();
  }
  FAIL_CHECK("the Future did not fail with StreamClosedError");
  return {};
}

/// Runs the loop, one iteration after the other, until `condition()` holds.
template <class F>
void wait_until(Loop& loop, F condition) {
  const auto deadline = std::chrono::steady_clock::now() + async_test_timeout();
  while (!condition()) {
    REQUIRE_MESSAGE(std::chrono::steady_clock::now() < deadline, "nothing happened in time");
    loop.iterate();
  }
}

/// Enough iterations for what is on its way over loopback to arrive.
inline constexpr int some_iterations = 20;

/// Sets `closed` when the stream is.
inline void watch_close(const tornado::IOStream& stream, bool& closed) {
  stream.set_close_callback([&closed] { closed = true; });
}

// ---- Logs

/// Lets through what is logged on level info, as long as it lives.
class InfoLevel {
 public:
  InfoLevel() { tornado::log::gen_log.set_level(tornado::LogLevel::info); }
  ~InfoLevel() { tornado::log::gen_log.set_level(tornado::LogLevel::warning); }
  InfoLevel(const InfoLevel&) = delete;
  InfoLevel& operator=(const InfoLevel&) = delete;
};

// ---- Sockets

enum class Transport { tcp, local, tls };
inline constexpr Transport transports[] = {
    Transport::tcp,
    Transport::local,
#ifdef TORNADO_TEST_TLS
    Transport::tls,
#endif
};
/// Where it is about what TLS hides or adds to.
inline constexpr Transport plain_transports[] = {Transport::tcp, Transport::local};
inline doctest::String toString(Transport transport) {
  if (transport == Transport::tls) return "TLS";
  return transport == Transport::tcp ? "TCP" : "Unix socket";
}

/// Of the streams that a test makes without saying over what: TLS when TORNADO_TEST_TRANSPORT is
/// `tls`.
inline Transport default_transport() {
  const char* name = std::getenv("TORNADO_TEST_TRANSPORT");
  return name != nullptr && std::string_view(name) == "tls" ? Transport::tls : Transport::tcp;
}

/// A listening socket that nobody else knows, and its address.
inline std::pair<tornado::Socket, tornado::Address> listen(Transport transport, int backlog = 128) {
  if (transport != Transport::local) {
    auto [socket, port] = bind_unused_port();
    return {std::move(socket), tornado::Address("127.0.0.1", port)};
  }
  static int number = 0;
  std::string path("\0tornado-asio-test-", 19);  // an abstract name
  path += std::to_string(::getpid()) + "-" + std::to_string(++number);
  return {tornado::netutil::bind_unix_socket(path, 0600, backlog),
          tornado::Address::unix_path(path)};
}
inline tornado::Socket client_socket(Transport transport) {
  return transport == Transport::local ? tornado::Socket::unix_stream()
                                       : tornado::Socket::tcp(AF_INET);
}

/// Two sockets that are connected with each other, the accepted one first.
inline std::pair<tornado::Socket, tornado::Socket> connected_sockets(
    Transport transport = Transport::tcp) {
  if (transport == Transport::local) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    return {tornado::Socket(ends[0]), tornado::Socket(ends[1])};
  }
  auto [listener, port] = bind_unused_port();
  tornado::Socket client = tornado::Socket::tcp(AF_INET);
  const tornado::Address address("127.0.0.1", port);
  begin_connect(client, address);
  wait_for_events(listener.native_handle(), POLLIN);
  auto accepted = listener.accept();
  REQUIRE(accepted);
  wait_for_events(client.native_handle(), POLLOUT);
  return {std::move(accepted->first), std::move(client)};
}

#ifdef TORNADO_TEST_TLS
/// After the handshake, for which the loop runs.
inline std::pair<tornado::SSLIOStream, tornado::SSLIOStream> make_tls_pair(
    const tornado::IOStreamOptions& options = {},
    const tornado::SSLContext& server = server_context(),
    const tornado::SSLContext& client = client_context()) {
  auto [accepted, connected] = connected_sockets();
  const tornado::SSLIOStream a(std::move(accepted), tornado::ServerSide::yes, server, options);
  const tornado::SSLIOStream b(std::move(connected), client, "localhost", options);
  tornado::IOLoop::current().run_sync(
      [&a, &b] { return tornado::gen::multi(a.wait_for_handshake(), b.wait_for_handshake()); },
      tornado::Deadline(async_test_timeout()));
  return {a, b};
}
#endif

/// Two connected streams of the current loop, the accepted one first: as in Tornado's tests, the
/// one that reads and the one that writes.
inline std::pair<tornado::IOStream, tornado::IOStream> make_iostream_pair(
    const tornado::IOStreamOptions& options = {}, Transport transport = default_transport()) {
#ifdef TORNADO_TEST_TLS
  if (transport == Transport::tls) return make_tls_pair(options);
#endif
  auto [accepted, connected] = connected_sockets(transport);
  return {tornado::IOStream(std::move(accepted), options),
          tornado::IOStream(std::move(connected), options)};
}
inline std::pair<tornado::IOStream, tornado::IOStream> make_iostream_pair(Transport transport) {
  return make_iostream_pair({}, transport);
}

/// As make_iostream_pair, with buffers in the system so small that a megabyte does not fit.
inline std::pair<tornado::IOStream, tornado::IOStream> make_narrow_pair(
    Transport transport = default_transport(), const tornado::IOStreamOptions& options = {}) {
  auto pair = make_iostream_pair(options, transport);
  pair.first.set_receive_buffer_size(16 * 1024);
  pair.first.set_send_buffer_size(16 * 1024);
  pair.second.set_receive_buffer_size(16 * 1024);
  pair.second.set_send_buffer_size(16 * 1024);
  return pair;
}

/// A port of 127.0.0.1 that refuses connections for as long as the socket lives.
inline std::pair<tornado::Socket, std::uint16_t> refusing_port() {
  tornado::Socket socket = tornado::Socket::tcp(AF_INET);
  socket.bind(tornado::Address("127.0.0.1", 0));
  const std::uint16_t port = socket.local_address().port();
  return {std::move(socket), port};
}

/// Makes the close of `stream` a reset.
inline void reset_on_close(const tornado::IOStream& stream) {
  const linger at_once{1, 0};
  REQUIRE(::setsockopt(stream.fileno(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
}

/// How many descriptors this process has open.
inline int open_descriptors() {
  DIR* folder = ::opendir("/proc/self/fd");
  REQUIRE(folder != nullptr);
  int count = -3;  // ".", "..", and the folder itself
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

/// Bytes that differ from place to place, so that lost or misplaced ones show.
inline std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t state = 42;
  for (char& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

// Counts how many of its kind there are.
class Counted {
 public:
  explicit Counted(int& count) : count_(count) { ++count_; }
  Counted(const Counted& other) : count_(other.count_) { ++count_; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count_; }

 private:
  int& count_;
};

// ---- A stream over memory

/// What the system is to a socket: the test decides what can be read and how much can be written.
class Wire {
 public:
  static constexpr std::size_t unlimited = static_cast<std::size_t>(-1);

  // What the stream reads: these bytes, then the error, then the end.
  std::string incoming;
  std::error_code read_error;
  bool ended = false;
  int reads = 0;
  std::size_t largest_read = 0;  // that was asked for

  // What it writes.
  std::string written;
  std::vector<std::size_t> sends;  // the bytes of each write
  const char* last_chunk = nullptr;
  std::size_t room = unlimited;  // so many more, then it would block
  std::size_t most_per_send = unlimited;
  std::error_code write_error;
  std::size_t sends_before_error = 0;

  std::error_code connect_error;       // of the call
  std::error_code late_connect_error;  // of get_fd_error
  int connects = 0;
  int closes = 0;

  bool waits_to_read() const noexcept { return reader_.has_value(); }
  bool waits_to_write() const noexcept { return writer_.has_value(); }

  /// Tells the stream, if it waits, that there is something to read.
  void wake_reader() {
    if (reader_) take(reader_)();
  }
  void feed(std::string_view data) {
    incoming += data;
    wake_reader();
  }
  void end() {
    ended = true;
    wake_reader();
  }
  void fail_reading(std::error_code error) {
    read_error = error;
    wake_reader();
  }
  /// Lets the stream write `bytes` more.
  void make_room(std::size_t bytes = unlimited) {
    room = bytes;
    wake_writer();
  }
  void wake_writer(std::error_code error = {}) {
    if (writer_) take(writer_)(error);
  }

 private:
  friend class WireBackend;
  using Ready = tornado::StreamBackend::Ready;

  static Ready take(std::optional<Ready>& waiting) {
    Ready ready = std::move(*waiting);
    waiting.reset();
    return ready;
  }
  bool readable() const noexcept { return !incoming.empty() || read_error || ended; }
  std::size_t take_incoming(char* buffer, std::size_t size) {
    const std::size_t count = incoming.copy(buffer, size, taken_);
    taken_ += count;
    if (taken_ == incoming.size() || taken_ > incoming.size() / 2) {
      incoming.erase(0, std::exchange(taken_, 0));
    }
    return count;
  }

  std::size_t taken_ = 0;  // of incoming
  std::optional<Ready> reader_;
  std::optional<Ready> writer_;
};

/// The StreamBackend of a Wire.
class WireBackend final : public tornado::StreamBackend {
 public:
  explicit WireBackend(std::shared_ptr<Wire> wire) : wire_(std::move(wire)) {}

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    ++wire_->reads;
    wire_->largest_read = std::max(wire_->largest_read, size);
    if (!wire_->incoming.empty()) return {wire_->take_incoming(buffer, size)};
    if (wire_->read_error) return {0, wire_->read_error};
    if (wire_->ended) return {0};
    return {0, std::make_error_code(std::errc::operation_would_block)};
  }
  Result write_to_fd(std::span<const std::string_view> chunks) noexcept override {
    if (wire_->write_error && wire_->sends.size() >= wire_->sends_before_error) {
      return {0, wire_->write_error};
    }
    std::size_t count = 0;
    wire_->last_chunk = chunks.back().data();
    for (std::string_view chunk : chunks) {
      const std::size_t limit = std::min(wire_->room, wire_->most_per_send - count);
      chunk = chunk.substr(0, limit);
      wire_->written += chunk;
      count += chunk.size();
      if (wire_->room != Wire::unlimited) wire_->room -= chunk.size();
    }
    if (count == 0) return {0, std::make_error_code(std::errc::operation_would_block)};
    wire_->sends.push_back(count);
    return {count};
  }
  void wait(Interest interest, Ready ready) override {
    if (interest == Interest::write) {
      wire_->writer_.emplace(std::move(ready));
      if (wire_->room > 0) {
        tornado::IOLoop::current().add_callback([wire = wire_] { wire->wake_writer(); });
      }
      return;
    }
    wire_->reader_.emplace(std::move(ready));
    if (wire_->readable()) {
      tornado::IOLoop::current().add_callback([wire = wire_] { wire->wake_reader(); });
    }
  }
  void close_fd() noexcept override {
    ++wire_->closes;
    wire_->reader_.reset();
    wire_->writer_.reset();
  }
  std::error_code connect(const tornado::Address&) noexcept override {
    ++wire_->connects;
    return wire_->connect_error;
  }
  std::error_code get_fd_error() noexcept override { return wire_->late_connect_error; }

 private:
  std::shared_ptr<Wire> wire_;
};

inline std::pair<tornado::IOStream, std::shared_ptr<Wire>> make_wire_stream(
    const tornado::IOStreamOptions& options = {}) {
  auto wire = std::make_shared<Wire>();
  return {tornado::IOStream(std::make_unique<WireBackend>(wire), options), wire};
}

}  // namespace test
