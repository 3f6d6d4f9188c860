// SPDX-License-Identifier: Apache-2.0
//
// TLS by OpenSSL, whose BIO calls the lower backend directly.
//
// For OpenSSL a write never blocks, and never fails: what the lower backend does not take is kept
// here, and an error is kept from OpenSSL, which would refuse to read what came before it. So
// whatever OpenSSL has to say on its own, in answer to a key update for instance, needs no care.
#include "tls_backend.hpp"

#include "ssl_access.hpp"
#include "ssl_certificate.hpp"
#include "tls_bio.hpp"
#include "tornado/iostream.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <new>
#include <stdexcept>
#include <utility>

namespace tornado::detail {
namespace {

constexpr std::size_t record_size = SSL3_RT_MAX_PLAIN_LENGTH;
// Records that are sent together.
constexpr std::size_t batch_size = 4 * record_size;
// What is read together when much comes: as many records, with what encryption adds to each.
constexpr std::size_t bulk_size = batch_size + std::size_t{4} * 256;
// A call that would read more than that leaves the rest for the next.
constexpr std::size_t most_per_read = std::size_t{1024} * 1024;

const std::error_code would_block = std::make_error_code(std::errc::operation_would_block);

/// What is to be written, record by record.
class Plaintext {
 public:
  explicit Plaintext(std::span<const std::string_view> chunks) noexcept : chunks_(chunks) {
    for (const std::string_view chunk : chunks) size_ += chunk.size();
  }
  std::size_t size() const noexcept { return size_; }
  void skip(std::size_t count) noexcept {
    size_ -= count;
    offset_ += count;
    while (!chunks_.empty() && offset_ >= chunks_.front().size()) {
      offset_ -= chunks_.front().size();
      chunks_ = chunks_.subspan(1);
    }
  }
  /// The next bytes, at most `count`: where they lie, or in `scratch` if they lie in pieces.
  std::string_view next(std::size_t count, std::string& scratch) const {
    std::string_view first = chunks_.front().substr(offset_);
    if (first.size() >= count || first.size() == size_) return first.substr(0, count);
    scratch.assign(first);
    for (const std::string_view chunk : chunks_.subspan(1)) {
      scratch += chunk.substr(0, count - scratch.size());
      if (scratch.size() == count) break;
    }
    return scratch;
  }

 private:
  std::span<const std::string_view> chunks_;
  std::size_t offset_ = 0;  // in the first
  std::size_t size_ = 0;
};

class OpenSSLBackend final : public TlsBackend, private BioPeer {
 public:
  OpenSSLBackend(LoopCore& loop, SSL_CTX* context, bool server) : loop_(loop), server_(server) {
    ERR_clear_error();
    ssl_.reset(SSL_new(context));
    if (!ssl_ || !attach(ssl_.get())) {
      throw std::system_error(take_ssl_error(), "SSLIOStream");
    }
    if (server) {
      SSL_set_accept_state(ssl_.get());
    } else {
      SSL_set_connect_state(ssl_.get());
    }
    SSL_set_mode(ssl_.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_set_read_ahead(ssl_.get(), 1);  // or the header of each record would be a read of its own
  }

  // ---- TlsBackend

  void set_lower(std::unique_ptr<StreamBackend> lower) noexcept override {
    lower_ = std::move(lower);
  }
  void adopt_read() noexcept override { lower_reading_ = true; }
  void begin_handshake() noexcept override { state_ = State::handshaking; }
  bool handshake_done() const noexcept override { return state_ == State::established; }

  void set_server_hostname(std::string_view name, const SSLSession& session) override {
    if (SSL_SESSION* resumed = SSLAccess::get(session)) SSL_set_session(ssl_.get(), resumed);
    if (!name.empty()) set_name(std::string(name));
  }
  void require_hostname() const override {
    if (server_ || has_name_ || SSL_get_verify_mode(ssl_.get()) == SSL_VERIFY_NONE) return;
    if (!checks_name()) return;
    throw std::invalid_argument(
        "a TLS client that verifies needs a server_hostname, or check_hostname has to be off");
  }

  std::string selected_alpn_protocol() const override {
    const unsigned char* data = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &data, &size);
    return std::string(reinterpret_cast<const char*>(data), size);
  }
  std::string version() const override {
    return handshake_done() ? SSL_get_version(ssl_.get()) : std::string();
  }
  std::string cipher() const override {
    return handshake_done() ? SSL_get_cipher_name(ssl_.get()) : std::string();
  }
  std::string server_name() const override {
    const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
    return name == nullptr ? std::string() : name;
  }
  std::optional<SSLCertificate> peer_certificate() const override {
    X509* const certificate = SSL_get0_peer_certificate(ssl_.get());
    if (!handshake_done() || certificate == nullptr) return std::nullopt;
    return describe(certificate);
  }
  SSLSession session() const override {
    SSLSession session = SSLAccess::session(SSL_get1_session(ssl_.get()));
    const SSL_SESSION* const found = SSLAccess::get(session);
    return found != nullptr && SSL_SESSION_is_resumable(found) == 1 ? session : SSLSession();
  }
  bool session_reused() const noexcept override {
    return handshake_done() && SSL_session_reused(ssl_.get()) == 1;
  }
  void* native_handle() const noexcept override { return ssl_.get(); }

  // ---- StreamBackend

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    if (state_ != State::established) {
      return {0, std::make_error_code(std::errc::not_connected)};
    }
    const std::size_t most = std::min(size, most_per_read);
    std::size_t total = 0;
    while (total < most && !read_over_) {
      ERR_clear_error();
      std::size_t count = 0;
      if (SSL_read_ex(ssl_.get(), buffer + total, most - total, &count) == 1) {
        total += count;
        continue;
      }
      const int reason = SSL_get_error(ssl_.get(), 0);
      if (reason == SSL_ERROR_WANT_READ) break;
      read_over_ = Result(0, reason == SSL_ERROR_ZERO_RETURN ? std::error_code() : why());
    }
    may_have_more_ = total == most || read_over_;
    read_in_bulk(total >= 2 * record_size);
    drained_ = false;
    send_out();  // what OpenSSL had to say
    if (total > 0) return Result(total);
    return read_over_ ? *read_over_ : Result(0, would_block);
  }

  Result write_to_fd(std::span<const std::string_view> chunks) noexcept override {
    if (state_ != State::established) {
      return {0, std::make_error_code(std::errc::not_connected)};
    }
    if (!send_out()) return {0, write_error_ ? write_error_ : would_block};
    Plaintext text(chunks);
    // Less is offered than before when it comes from a file that has become shorter.
    std::size_t sent = std::min(encrypted_, text.size());
    encrypted_ -= sent;
    text.skip(sent);
    write_wants_read_ = false;
    std::error_code error;
    while (text.size() > 0 && !error && out_.empty() && !write_wants_read_) {
      const std::size_t encrypted = encrypt(text, error);
      if (send_out()) {
        sent += encrypted;
      } else {
        encrypted_ = encrypted;
      }
    }
    drained_ = false;
    if (write_error_) error = write_error_;
    if (error || sent > 0) return {sent, error};
    return {0, would_block};
  }

  void wait(Interest interest, Ready ready) override {
    if (interest == Interest::read) {
      reader_.emplace(std::move(ready));
      wait_to_read();
      return;
    }
    writer_.emplace(std::move(ready));
    if (state_ == State::handshaking) {
      advance_handshake(true);
    } else if (write_wants_read_) {
      wait_below_to_read(*writer_);
    } else {
      wait_below_to_write(*writer_);
    }
  }

  void on_lower_ready(Interest interest, std::error_code error) override {
    const LoopCore::Turn turn(loop_);
    if (interest == Interest::write) {
      lower_writing_ = false;
      on_lower_writable(error);
    } else {
      lower_reading_ = false;
      on_lower_readable(error);
    }
  }

  void close_fd() noexcept override {
    // A forked child must not speak for its parent.
    if (state_ == State::established && !loop_.forked()) {
      say_goodbye();
      drop_tickets();
    }
    lower_->close_fd();
    reader_.reset();
    writer_.reset();
    std::string().swap(out_);
  }

  std::error_code connect(const Address& address) noexcept override {
    const std::error_code error = lower_->connect(address);
    if (!error) state_ = State::connecting;
    return error;
  }
  std::error_code get_fd_error() noexcept override { return {}; }

  std::error_code shutdown_write() noexcept override {
    if (state_ != State::established) return std::make_error_code(std::errc::not_connected);
    send_close_notify();
    if (send_out()) return {};
    return write_error_ ? write_error_ : would_block;
  }

  native_handle_type fileno() const noexcept override { return lower_->fileno(); }
  void abandon() noexcept override { failed_ = true; }

 private:
  enum class State { unconnected, connecting, handshaking, established };
  struct FreeSSL {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
  };

  // ---- names

  bool checks_name() const { return SSLExtras::of(SSL_get_SSL_CTX(ssl_.get())).check_hostname; }

  void set_name(std::string name) {
    if (name.find('\0') != name.npos) {
      throw std::invalid_argument("server_hostname has a NUL byte in it");
    }
    X509_VERIFY_PARAM* const param = SSL_get0_param(ssl_.get());
    bool ok = true;
    if (netutil::is_valid_ip(name.substr(0, name.find('%')))) {
      name.erase(std::min(name.find('%'), name.size()));
      ok = !checks_name() || X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str()) == 1;
    } else {
      if (name.back() == '.') name.pop_back();
      X509_VERIFY_PARAM_set_hostflags(
          param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
      ok = SSL_set_tlsext_host_name(ssl_.get(), name.c_str()) == 1 &&
           (!checks_name() || X509_VERIFY_PARAM_set1_host(param, name.data(), name.size()) == 1);
    }
    if (!ok) throw std::invalid_argument("server_hostname cannot be a host's name: " + name);
    has_name_ = true;
  }

  // ---- BioPeer: what OpenSSL reads and writes

  int read_ciphertext(char* buffer, std::size_t size) noexcept override {
    if (drained_ && !lower_over_) return blocks;
    if (!lower_over_) {
      const Result result = lower_->read_from_fd(buffer, size);
      drained_ = result.bytes < size;
      if (result.bytes > 0) return static_cast<int>(result.bytes);
      if (result.error == std::errc::operation_would_block) return blocks;
      lower_over_ = true;
      lower_error_ = result.error;
    }
    told_end_ = true;
    return lower_error_ ? fails : 0;
  }

  bool at_end() const noexcept override { return told_end_ && !lower_error_; }

  void write_ciphertext(std::string_view data) noexcept override {
    if (write_error_) return;
    if (collecting_) {
      keep(data);
    } else {
      send_out(data);
    }
  }

  void keep(std::string_view data) noexcept {
    if (data.empty()) return;
    try {
      if (out_.empty()) out_.swap(loop_.tls_scratch().ciphertext);
      out_ += data;
    } catch (const std::bad_alloc&) {
      write_error_ = std::make_error_code(std::errc::not_enough_memory);
    }
  }

  /// Sends what is kept, and `data` behind it; keeps what the lower backend does not take. True
  /// when nothing is left.
  bool send_out(std::string_view data = {}) noexcept {
    while (!write_error_ && out_.size() + data.size() > out_sent_) {
      const std::array<std::string_view, 2> views = {std::string_view(out_).substr(out_sent_),
                                                     data};
      const std::size_t kept = views[0].size();
      const std::size_t offered = kept + data.size();
      const std::span<const std::string_view> both(views);
      const Result result = lower_->write_to_fd(
          both.subspan(kept == 0 ? 1 : 0, (kept == 0 ? 0 : 1) + (data.empty() ? 0 : 1)));
      if (result.error && result.error != std::errc::operation_would_block) {
        write_error_ = result.error;
      }
      out_sent_ += std::min(result.bytes, kept);
      data.remove_prefix(result.bytes - std::min(result.bytes, kept));
      if (result.bytes < offered) break;
    }
    if (out_sent_ == out_.size() || write_error_) give_back_scratch();
    if (!write_error_) keep(data);
    return out_.empty() && !write_error_;
  }

  void give_back_scratch() noexcept {
    std::string& scratch = loop_.tls_scratch().ciphertext;
    out_.clear();
    out_sent_ = 0;
    if (scratch.capacity() < out_.capacity()) scratch.swap(out_);
    std::string().swap(out_);
  }

  /// Encrypts the next of `text`, and takes it away from there.
  std::size_t encrypt(Plaintext& text, std::error_code& error) {
    const std::size_t all = std::min(text.size(), batch_size);
    std::size_t done = 0;
    while (done < all) {
      const std::string_view piece =
          text.next(std::min(all - done, record_size), loop_.tls_scratch().plaintext);
      collecting_ = done + piece.size() < all;
      ERR_clear_error();
      std::size_t count = 0;
      if (SSL_write_ex(ssl_.get(), piece.data(), piece.size(), &count) != 1) {
        write_wants_read_ = SSL_get_error(ssl_.get(), 0) == SSL_ERROR_WANT_READ;
        if (!write_wants_read_) error = why();
        break;
      }
      text.skip(count);
      done += count;
    }
    collecting_ = false;
    return done;
  }

  /// Has OpenSSL read several records at a time, when it next makes room to read into, or one.
  void read_in_bulk(bool on) noexcept {
    if (std::exchange(bulk_, on) == on) return;
    SSL_set_default_read_buffer_len(ssl_.get(), on ? bulk_size : 0);
  }

  /// What a failed call of OpenSSL's has failed of. OpenSSL says it of the first one only.
  std::error_code why() noexcept {
    failed_ = true;
    if (!fatal_) fatal_ = explain_failure();
    return fatal_;
  }
  std::error_code explain_failure() noexcept {
    const unsigned long code = ERR_peek_last_error();
    if (told_end_) {
      ERR_clear_error();
      return lower_error_ ? lower_error_ : make_error_code(StreamErrc::truncated);
    }
    const long verified = SSL_get_verify_result(ssl_.get());
    if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
        ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK) {
      ERR_clear_error();
      return {static_cast<int>(verified), ssl_verify_category()};
    }
    const std::error_code error = take_ssl_error();
    return error ? error : std::make_error_code(std::errc::protocol_error);
  }

  // ---- the handshake

  /// \param inside_wait  what it comes to must not be told before that has returned.
  void advance_handshake(bool inside_wait) {
    std::error_code error;
    if (!finished_) {
      collecting_ = true;
      ERR_clear_error();
      const int outcome = SSL_do_handshake(ssl_.get());
      collecting_ = drained_ = false;
      finished_ = outcome == 1;
      if (!finished_ && SSL_get_error(ssl_.get(), outcome) != SSL_ERROR_WANT_READ) error = why();
    }
    const bool sent = send_out();
    if (!error) error = write_error_;
    if (error || (finished_ && sent)) {
      end_handshake(error, inside_wait);
      return;
    }
    if (!sent) wait_below_to_write(*writer_);
    if (!finished_) wait_below_to_read(*writer_);
  }

  void end_handshake(std::error_code error, bool inside_wait) {
    if (!error) {
      state_ = State::established;
      may_have_more_ = true;  // behind the other end's last message
      if (reader_) wait_to_read();
    }
    if (inside_wait) {
      post(writer_, error);
    } else {
      tell(writer_, error);
    }
  }

  // ---- waiting

  static Ready take(std::optional<Ready>& waiting) {
    Ready ready = std::move(*waiting);
    waiting.reset();
    return ready;
  }
  static void tell(std::optional<Ready>& waiting, std::error_code error = {}) {
    take(waiting)(error);
  }
  void post(std::optional<Ready>& waiting, std::error_code error) {
    loop_.post_handler([ready = take(waiting), error]() mutable { ready(error); });
  }

  void wait_to_read() {
    if (state_ == State::unconnected) return wait_below_to_read(*reader_);
    if (state_ != State::established) return;  // until the handshake is done
    if (!out_.empty()) wait_below_to_write(*reader_);
    if (may_have_more_) {
      post(reader_, {});
    } else {
      wait_below_to_read(*reader_);
    }
  }

  void wait_below_to_read(const Ready& ready) {
    if (std::exchange(lower_reading_, true)) return;
    lower_->wait(Interest::read, ready.for_layer(*this, Interest::read));
  }
  void wait_below_to_write(const Ready& ready) {
    if (std::exchange(lower_writing_, true)) return;
    lower_->wait(Interest::write, ready.for_layer(*this, Interest::write));
  }

  void on_lower_writable(std::error_code error) {
    if (state_ == State::connecting) {
      if (!error) error = lower_->get_fd_error();
      if (error) return tell(writer_, error);
      state_ = State::handshaking;
    }
    if (error) write_error_ = error;
    if (state_ == State::handshaking) return advance_handshake(false);
    send_out();
    if (writer_) {
      tell(writer_, error);
    } else if (reader_ && !out_.empty()) {
      wait_below_to_write(*reader_);
    }
  }

  void on_lower_readable(std::error_code error) {
    if (state_ == State::unconnected && reader_) return tell(reader_, error);
    if (state_ == State::connecting) return;  // begun before there was a connection
    if (error) {
      lower_over_ = true;
      lower_error_ = error;
    }
    if (state_ == State::handshaking) return advance_handshake(false);
    may_have_more_ = true;
    if (write_wants_read_ && writer_) tell(writer_);
    if (reader_) tell(reader_);
  }

  // ---- the end

  void send_close_notify() noexcept {
    if (std::exchange(said_goodbye_, true)) return;
    collecting_ = true;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
    collecting_ = false;
  }

  void say_goodbye() noexcept {
    if (failed_ || told_end_ || write_error_) return;
    send_close_notify();
    send_out();
  }

  // Tickets that a server has sent and nobody has read would make the close a reset, with which
  // some systems throw away what the server has not read yet.
  void drop_tickets() noexcept {
    char unread[2048];
    for (int i = 0; i < 4 && !server_ && !lower_over_; ++i) {
      if (lower_->read_from_fd(unread, sizeof unread).bytes < sizeof unread) break;
    }
  }

  LoopCore& loop_;  // the stream's, which holds this
  std::unique_ptr<StreamBackend> lower_;
  std::unique_ptr<SSL, FreeSSL> ssl_;
  State state_ = State::unconnected;
  const bool server_;
  bool has_name_ = false;
  bool finished_ = false;      // OpenSSL's part of the handshake
  bool failed_ = false;        // OpenSSL does no more
  std::error_code fatal_;      // because of that
  bool said_goodbye_ = false;  // with a close_notify

  // What the stream waits for, and what is waited for below.
  std::optional<Ready> reader_;
  std::optional<Ready> writer_;
  bool lower_reading_ = false;
  bool lower_writing_ = false;

  bool drained_ = false;        // the lower backend has no more for now; until the call ends
  bool may_have_more_ = false;  // inside OpenSSL
  bool lower_over_ = false;     // nothing more to be read there
  bool told_end_ = false;       // of which OpenSSL knows
  std::error_code lower_error_;
  std::optional<Result> read_over_;

  bool bulk_ = false;              // much comes at a time
  bool collecting_ = false;        // more is to be sent together
  bool write_wants_read_ = false;  // a renegotiation goes on
  std::error_code write_error_;
  std::string out_;            // encrypted, and not sent
  std::size_t out_sent_ = 0;   // of out_
  std::size_t encrypted_ = 0;  // bytes of the stream's in out_
};

}  // namespace

void require_side(const SSLContext& context, ServerSide server_side) {
  const bool server = server_side == ServerSide::yes;
  const SSL_METHOD* const others = server ? TLS_client_method() : TLS_server_method();
  if (SSL_CTX_get_ssl_method(SSLAccess::get(context)) == others) {
    throw std::invalid_argument(server ? "the SSLContext is for clients, not for a server"
                                       : "the SSLContext is for servers, not for a client");
  }
}

std::unique_ptr<TlsBackend> make_tls_backend(LoopCore& loop, const SSLContext& context,
                                             ServerSide server_side,
                                             std::string_view server_hostname,
                                             const SSLSession& session) {
  const bool server = server_side == ServerSide::yes;
  if (!context && server) throw std::invalid_argument("a TLS server needs an SSLContext");
  const SSLContext& used = context ? context : default_client_context();
  require_side(used, server_side);
  auto backend = std::make_unique<OpenSSLBackend>(loop, SSLAccess::get(used), server);
  backend->set_server_hostname(server_hostname, session);
  return backend;
}

}  // namespace tornado::detail
