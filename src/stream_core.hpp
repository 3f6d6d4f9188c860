// SPDX-License-Identifier: Apache-2.0
//
// The one path of every stream: buffers, limits, the pending operations, and how all of it ends.
// Below it is the StreamBackend; above it the IOStream handles.
#pragma once

#include "loop_core.hpp"
#include "regex_search.hpp"
#include "stream_options.hpp"
#include "tls_backend.hpp"
#include "tornado/iostream.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace tornado::detail {

class ReleasableBackend;

class StreamCore final : public LoopClient {
 public:
  StreamCore(std::unique_ptr<StreamBackend> backend, const IOStreamOptions& options);
  /// An encrypted one, over `lower`.
  StreamCore(std::unique_ptr<TlsBackend> tls, std::unique_ptr<StreamBackend> lower,
             const IOStreamOptions& options);

  /// The core behind a handle, without being one.
  static Ref<StreamCore> share(const IOStream& stream) noexcept {
    stream.core_->add_ref();
    return Ref<StreamCore>(stream.core_);
  }

  /// Handles count apart from references: the last one may close the stream.
  void add_handle() noexcept {
    ++handles_;
    add_ref();
  }
  void drop_handle() noexcept {
    if (--handles_ == 0) close_if_unused();
    release();
  }

  Future<IOStream> connect(const Address& address);
  Future<SSLIOStream> connect_tls(const Address& address, std::string_view server_hostname,
                                  const SSLSession& session);
  Future<SSLIOStream> start_tls(ServerSide server_side, const SSLContext& context,
                                std::string_view server_hostname, const SSLSession& session);
  Future<SSLIOStream> wait_for_handshake();
  /// The connection is there: encrypts it from now on.
  void begin_handshake();
  Future<std::string> read_bytes(std::size_t count, Partial partial);
  Future<std::string> read_until(std::string_view delimiter, std::optional<std::size_t> max_bytes);
  Future<std::size_t> read_into(std::span<char> buffer, Partial partial);
  Future<std::string> read_until_regex(const Regex& regex, std::optional<std::size_t> max_bytes);
  Future<std::string> read_until_close();
  Future<void> write(std::string_view data);
  Future<void> write(std::string&& data);
  Future<std::uint64_t> write_file(OwnedFile file, std::uint64_t offset,
                                   std::optional<std::uint64_t> length);
  Future<void> drain();
  Future<void> shutdown_write();
  void close(std::error_code error) {
    send();
    shut(error);
  }
  void set_close_job(Node* job) noexcept;

  void flush() noexcept override;

  LoopCore& loop() const noexcept { return *loop_; }
  /// Null when it is not encrypted, or the loop was closed.
  TlsBackend* tls() const noexcept {
    return encrypted_ ? static_cast<TlsBackend*>(backend_.get()) : nullptr;
  }
  bool closed() const noexcept { return closed_; }
  bool reading() const noexcept { return read_.kind != Read::none; }
  bool writing() const noexcept {
    return !closed_ && (sent_ < written_ || (write_end_ && !write_shut_));
  }
  std::uint64_t bytes_read() const noexcept { return bytes_read_; }
  std::uint64_t bytes_written() const noexcept { return sent_; }
  /// The other end has said that it sends no more.
  bool read_ended() const noexcept { return read_ended_; }
  /// From now on that does not close the stream.
  void allow_half_open() noexcept { half_open_ = true; }
  std::error_code error() const noexcept { return closed_ ? error_ : std::error_code(); }
  const IOStreamOptions& options() const noexcept { return options_->values; }
  native_handle_type fileno() const noexcept {
    return closed_ ? Socket::invalid_handle : backend_->fileno();
  }

  /// The backend, if its socket can be taken out.
  ReleasableBackend* releasable() const noexcept;

  // For release_socket.
  /// \throws std::logic_error  when a read is pending, it connects, or there is no socket.
  void require_releasable() const;
  /// Closes the stream, but not its socket.
  Socket detach(std::string& received);

  /// A wait of the backend's is over.
  void on_ready(StreamBackend::Interest interest, std::error_code error);

 private:
  struct Read {
    enum Kind : std::uint8_t { none, bytes, until, until_regex, into, until_close };
    Kind kind = none;
    bool partial = false;
    std::size_t count = 0;  // bytes, into: how many; until, until_regex: the limit, or no_limit
    // until: bytes in which the delimiter does not begin; into: bytes that are in the target.
    std::size_t passed = 0;
    std::string delimiter;
    std::unique_ptr<RegexSearch> regex;
    char* target = nullptr;  // into: the caller's buffer
    Ref<StateBase> state;

    // Of into.
    std::span<char> rest() const noexcept { return {target + passed, count - passed}; }
    bool has_enough() const noexcept { return passed == count || (partial && passed > 0); }
  };
  static constexpr std::size_t no_limit = static_cast<std::size_t>(-1);

  ~StreamCore() override;
  bool arm(std::size_t& reads) noexcept override;
  void on_loop_close() noexcept override;
  Answer cancel_requested(StateBase& state) noexcept override;
  std::string describe() const override;

  // Where the bytes of a read end; or one of these.
  static constexpr std::size_t not_yet = static_cast<std::size_t>(-1);
  static constexpr std::size_t never = static_cast<std::size_t>(-2);

  void require_no_read(const char* call) const;
  template <class T>
  Future<T> start_read(Read::Kind kind);
  std::string_view buffered() const noexcept {
    return std::string_view(received_).substr(consumed_);
  }
  std::string take_buffered(std::size_t count);
  void consume(std::size_t count) noexcept;
  void satisfy_from_buffer();
  bool had_its_share() noexcept;
  void postpone_read();
  std::size_t find_end(std::string_view available);
  std::size_t find_regex_end(std::string_view available);
  bool fill_target(std::string_view& data);
  void put_back_filled();
  template <class T>
  void deliver(T&& result);
  void on_data(std::size_t count);
  void shut_unsatisfiable();
  std::size_t chunk_size() const noexcept;
  void on_end();
  bool read_once();
  bool read_more(std::size_t& reads);
  bool wants_to_read() const noexcept;
  bool try_to_read(std::size_t& reads) noexcept;
  void arm_if_wanted() noexcept;

  template <class Data>
  Future<void> write_any(Data&& data);
  /// What is there only until it is connected: whoever waits for that, and where to.
  struct Attempt {
    Ref<State<IOStream>> connection;
    Ref<State<SSLIOStream>> handshake;  // of connect_tls, start_tls or wait_for_handshake
    Address to;

    /// `state` is that of one who waits.
    void forget(const StateBase& state) noexcept {
      if (connection.get() == &state) {
        connection = {};
      } else {
        handshake = {};
      }
    }
    /// Calls `f` with the state of each who waits, which are forgotten.
    template <class F>
    void end(F f) {
      if (const auto state = std::exchange(connection, {}); state && !state->done()) f(*state);
      if (const auto state = std::exchange(handshake, {}); state && !state->done()) f(*state);
    }
  };
  Attempt& attempt() {
    if (!attempt_) attempt_ = std::make_unique<Attempt>();
    return *attempt_;
  }
  template <class T>
  Future<T> connect_as(Ref<State<T>> Attempt::*waiting, const Address& address);
  template <class T>
  Future<T> wait_in(Ref<State<T>>& waiting) {
    Future<T> future;
    State<T>* state = Access::state(future);
    state->observed = true;
    state->add_ref();
    waiting = Ref<State<T>>(state);
    return future;
  }
  bool awaits_handshake() const noexcept {
    return attempt_ && attempt_->handshake && !attempt_->handshake->done();
  }
  bool awaits_connection() const noexcept {
    return attempt_ && (attempt_->connection || awaits_handshake());
  }
  void encrypt(std::unique_ptr<TlsBackend> tls) noexcept;
  std::string describe_connecting() const;
  void fail_connecting(std::error_code error);
  void require_writable(const char* call) const;
  void add_write(StateBase& state, bool of_file);
  Future<void> add_write();
  void send_later() noexcept;
  void try_connect();
  void on_connect_begun(std::error_code error);
  void on_connected();
  void on_writable(std::error_code error);
  bool may_send() const noexcept { return !closed_ && !connecting_ && !write_armed_ && !broken_; }
  void send();
  bool send_once();
  bool send_file_part();
  StreamBackend::Result copy_to_backend(const OwnedFile& file, std::uint64_t offset,
                                        std::size_t size);
  bool on_sent(const StreamBackend::Result& result);
  bool on_sent(const StreamBackend::Result& result, std::size_t offered);
  void end_writing();
  void complete_drains();
  void wait_to_write();
  void complete_writes();
  Outgoing& outgoing() {
    if (!outgoing_) outgoing_ = loop_->lend_outgoing();
    return *outgoing_;
  }
  /// Bytes written and not yet sent, without those of files.
  std::size_t unsent() const noexcept { return outgoing_ ? outgoing_->unsent.size() : 0; }
  void on_write_error(std::error_code error);

  void shut(std::error_code error, const std::exception_ptr& for_reader = nullptr);
  void fail_pending(const std::exception_ptr& error, const std::exception_ptr& for_reader);
  void close_if_unused();
  std::exception_ptr closed_error(const std::string& doing = {}) const;

  std::shared_ptr<LoopCore> loop_;
  std::unique_ptr<StreamBackend> backend_;
  Ref<StreamOptions> options_;
  std::error_code error_;  // what closed it, or is about to
  std::uint32_t handles_ = 1;
  bool encrypted_ = false;  // the backend is a TlsBackend
  bool closed_ = false;
  bool broken_ = false;      // nothing can be sent any more: it is about to close
  bool connecting_ = false;  // the handshake included
  bool connected_ = false;   // by connect()
  bool half_open_;           // the other end's end does not close it
  bool read_ended_ = false;
  bool read_unconnected_ = false;  // ahead, in vain
  bool write_shut_ = false;
  bool postponed_ = false;  // the read that is pending, to the next iteration
  bool read_armed_ = false;
  bool read_adopted_ = false;  // a wait goes on that was armed before start_tls
  bool write_armed_ = false;

  std::uint16_t served_ = 0;     // reads in a row, from what is buffered, in
  std::uint32_t served_in_ = 0;  // this turn, by the last digits of its number
  std::string received_;
  std::size_t consumed_ = 0;  // of received_
  std::uint64_t bytes_read_ = 0;
  Read read_;

  std::unique_ptr<Outgoing> outgoing_;  // null when there is nothing
  std::uint64_t written_ = 0;           // bytes ever accepted
  std::uint64_t sent_ = 0;
  Ref<State<void>> write_end_;        // set by shutdown_write
  std::unique_ptr<Attempt> attempt_;  // there while it connects
  Node* close_job_ = nullptr;
};

/// A Future that has failed; a quiet one is not logged when nobody looks at it.
template <class T>
Future<T> failed(std::exception_ptr error, bool quiet) {
  Future<T> future;
  Access::state(future)->observed = quiet;
  future.set_exception(std::move(error));
  return future;
}

}  // namespace tornado::detail
