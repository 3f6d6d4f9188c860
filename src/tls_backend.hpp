// SPDX-License-Identifier: Apache-2.0
//
// TLS over another backend. What is behind it, OpenSSL or nothing, shows nowhere here.
#pragma once

#include "loop_core.hpp"
#include "tornado/ssl.hpp"
#include "tornado/stream_backend.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace tornado::detail {

/// The handshake is what `wait(Interest::write)` waits for, until that has told that it is done, or
/// why it failed. Nothing can be read or written before.
class TlsBackend : public StreamBackend {
 public:
  /// Puts it above `lower`. Before anything else is called.
  virtual void set_lower(std::unique_ptr<StreamBackend> lower) noexcept = 0;
  /// A wait of the lower backend goes on, whose outcome will be told to on_lower_ready.
  virtual void adopt_read() noexcept = 0;
  /// `lower` is connected: the next wait begins the handshake.
  virtual void begin_handshake() noexcept = 0;
  virtual bool handshake_done() const noexcept = 0;
  /// Something that was written will not be sent: the close is not to look like an end in order.
  virtual void abandon() noexcept = 0;

  /// Of a client; empty and none leave what there was.
  virtual void set_server_hostname(std::string_view name, const SSLSession& session) = 0;
  /// \throws std::invalid_argument  of a client that verifies, when there is no name to check.
  virtual void require_hostname() const = 0;

  virtual std::string selected_alpn_protocol() const = 0;
  virtual std::string version() const = 0;
  virtual std::string cipher() const = 0;
  virtual std::string server_name() const = 0;
  virtual std::optional<SSLCertificate> peer_certificate() const = 0;
  virtual SSLSession session() const = 0;
  virtual bool session_reused() const noexcept = 0;
  virtual void* native_handle() const noexcept = 0;
};

/// \throws std::invalid_argument  when the context is the other side's.
void require_side(const SSLContext& context, ServerSide server_side);

/// \throws std::invalid_argument  when the context is the other side's, or a server has none.
std::unique_ptr<TlsBackend> make_tls_backend(LoopCore& loop, const SSLContext& context,
                                             ServerSide server_side,
                                             std::string_view server_hostname,
                                             const SSLSession& session);

/// It is in `ssl_category()` or `ssl_verify_category()`.
bool is_tls_error(const std::error_code& error) noexcept;

}  // namespace tornado::detail
