// SPDX-License-Identifier: Apache-2.0
#include "socket_backend.hpp"
#include "stream_core.hpp"
#include "tls_backend.hpp"
#include "tornado/iostream.hpp"

#include <stdexcept>
#include <utility>

namespace tornado {
namespace {

/// Null when the loop has been closed.
const detail::TlsBackend* tls_of(const IOStream& stream) {
  return detail::StreamCore::share(stream)->tls();
}

std::unique_ptr<detail::TlsBackend> make_tls(const SSLContext& context, ServerSide server_side,
                                             std::string_view server_hostname) {
  return detail::make_tls_backend(detail::LoopCore::current(), context, server_side,
                                  server_hostname, {});
}

bool is_connected(native_handle_type handle) {
  Socket borrowed(handle);
  bool connected = true;
  try {
    static_cast<void>(borrowed.remote_address());
  } catch (const std::system_error&) {
    connected = false;
  }
  static_cast<void>(borrowed.release());
  return connected;
}

}  // namespace

SSLIOStream::SSLIOStream(detail::StreamCore* core) noexcept : IOStream(core) {}

SSLIOStream::SSLIOStream(Socket socket, const SSLContext& context, std::string_view server_hostname,
                         const IOStreamOptions& options) {
  auto tls = make_tls(context, ServerSide::no, server_hostname);
  const native_handle_type handle = socket.native_handle();
  auto lower = detail::make_socket_backend(std::move(socket));
  core_ = new detail::StreamCore(std::move(tls), std::move(lower), options);
  if (is_connected(handle)) core_->begin_handshake();
}

SSLIOStream::SSLIOStream(Socket socket, ServerSide server_side, const SSLContext& context,
                         const IOStreamOptions& options) {
  auto tls = make_tls(context, server_side, {});
  auto lower = detail::make_socket_backend(std::move(socket));
  core_ = new detail::StreamCore(std::move(tls), std::move(lower), options);
  core_->begin_handshake();
}

SSLIOStream::SSLIOStream(IOStream stream) : IOStream(std::move(stream)) {
  if (core_ != nullptr && core_->tls() == nullptr) {
    throw std::invalid_argument("SSLIOStream: the stream is not encrypted");
  }
}

Future<SSLIOStream> SSLIOStream::connect(const Address& address, std::string_view server_hostname,
                                         const SSLSession& session) const {
  return core_->connect_tls(address, server_hostname, session);
}

Future<SSLIOStream> SSLIOStream::wait_for_handshake() const { return core_->wait_for_handshake(); }

std::string SSLIOStream::selected_alpn_protocol() const {
  const auto* tls = tls_of(*this);
  return tls == nullptr ? std::string() : tls->selected_alpn_protocol();
}
std::string SSLIOStream::version() const {
  const auto* tls = tls_of(*this);
  return tls == nullptr ? std::string() : tls->version();
}
std::string SSLIOStream::cipher() const {
  const auto* tls = tls_of(*this);
  return tls == nullptr ? std::string() : tls->cipher();
}
std::string SSLIOStream::server_name() const {
  const auto* tls = tls_of(*this);
  return tls == nullptr ? std::string() : tls->server_name();
}
std::optional<SSLCertificate> SSLIOStream::peer_certificate() const {
  const auto* tls = tls_of(*this);
  return tls == nullptr ? std::nullopt : tls->peer_certificate();
}
SSLSession SSLIOStream::session() const {
  const auto* tls = tls_of(*this);
  return tls == nullptr ? SSLSession() : tls->session();
}
bool SSLIOStream::session_reused() const noexcept {
  const auto* tls = tls_of(*this);
  return tls != nullptr && tls->session_reused();
}
void* SSLIOStream::native_handle() const noexcept {
  const auto* tls = tls_of(*this);
  return tls == nullptr ? nullptr : tls->native_handle();
}

}  // namespace tornado
