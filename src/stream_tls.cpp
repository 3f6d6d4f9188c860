// SPDX-License-Identifier: Apache-2.0
//
// Of a stream: TLS, which is a layer above its backend. The handshake is part of connecting.
#include "socket_access.hpp"
#include "stream_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

namespace tornado::detail {
namespace {

/// None when it has gone already.
Address peer_of(native_handle_type handle) {
  try {
    return BorrowedSocket(handle)->remote_address();
  } catch (const std::system_error&) {
    return {};
  }
}

}  // namespace

StreamCore::StreamCore(std::unique_ptr<TlsBackend> tls, std::unique_ptr<StreamBackend> lower,
                       const IOStreamOptions& options)
    : StreamCore(std::move(lower), options) {
  encrypt(std::move(tls));
}

void StreamCore::encrypt(std::unique_ptr<TlsBackend> tls) noexcept {
  tls->set_lower(std::move(backend_));
  backend_ = std::move(tls);
  encrypted_ = true;
}

void StreamCore::fail_connecting(std::error_code error) {
  // Whoever waits is told; else nobody would be.
  if (is_tls_error(error) && !awaits_connection()) {
    log::gen_log.warning("SSL Error: {}: {}", describe_connecting(), error.message());
  }
  shut(error);
}

std::string StreamCore::describe_connecting() const {
  const std::string peer = attempt_->to.size() > 0 ? attempt_->to.str() : "an unknown peer";
  return fmt::format("{} {}", encrypted_ ? "TLS connection with" : "connect to", peer);
}

void StreamCore::begin_handshake() {
  tls()->require_hostname();
  tls()->begin_handshake();
  connecting_ = true;
  attempt().to = peer_of(fileno());  // who it was can be asked no more when it has gone
  wait_to_write();
}

Future<SSLIOStream> StreamCore::start_tls(ServerSide server_side, const SSLContext& context,
                                          std::string_view server_hostname,
                                          const SSLSession& session) {
  if (closed_) return failed<SSLIOStream>(closed_error(), true);
  if (connecting_) throw std::logic_error("IOStream::start_tls: the stream is connecting");
  if (reading()) throw std::logic_error("IOStream::start_tls: a read is pending");
  if (!buffered().empty()) {
    throw std::logic_error("IOStream::start_tls: something that came was not read");
  }
  auto tls = make_tls_backend(*loop_, context, server_side, server_hostname, session);
  tls->require_hostname();
  send();
  if (closed_ || broken_) {
    return failed<SSLIOStream>(std::make_exception_ptr(StreamClosedError(error_)), true);
  }
  if (writing()) {
    throw std::logic_error("IOStream::start_tls: what was written cannot be sent at once");
  }
  read_adopted_ = std::exchange(read_armed_, false);
  if (read_adopted_) tls->adopt_read();
  encrypt(std::move(tls));
  Future<SSLIOStream> future = wait_in(attempt().handshake);
  Access::state(future)->set_origin(this);
  begin_handshake();
  return future;
}

Future<SSLIOStream> StreamCore::wait_for_handshake() {
  if (closed_) return failed<SSLIOStream>(closed_error(), true);
  if (awaits_connection()) {
    throw std::logic_error("SSLIOStream::wait_for_handshake: it is being waited for already");
  }
  if (tls()->handshake_done()) return make_ready_future(SSLIOStream(this));
  return wait_in(attempt().handshake);
}

}  // namespace tornado::detail
