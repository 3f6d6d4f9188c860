// SPDX-License-Identifier: Apache-2.0
//
// What is behind the handles of tornado/ssl.hpp, for those who include OpenSSL.
#pragma once

#include "tornado/ssl.hpp"

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <system_error>

namespace tornado::detail {

class SSLAccess {
 public:
  static SSLContext context(SSL_CTX* owned) {
    return SSLContext(std::shared_ptr<void>(
        owned, [](void* context) { SSL_CTX_free(static_cast<SSL_CTX*>(context)); }));
  }
  static SSL_CTX* get(const SSLContext& context) noexcept {
    return static_cast<SSL_CTX*>(context.context_.get());
  }
  static SSLSession session(SSL_SESSION* owned) {
    return SSLSession(std::shared_ptr<void>(
        owned, [](void* session) { SSL_SESSION_free(static_cast<SSL_SESSION*>(session)); }));
  }
  static SSL_SESSION* get(const SSLSession& session) noexcept {
    return static_cast<SSL_SESSION*>(session.session_.get());
  }
};

/// What OpenSSL's contexts have no room for; lives as long as the context.
class SSLExtras {
 public:
  /// Those of `context`, made when there are none.
  static SSLExtras& of(SSL_CTX* context);

  bool check_hostname = true;
  std::string alpn;  // as on the wire: each with its length in front
  SSLContext::SNICallback sni_callback;
};

/// The client's context where none was given.
const SSLContext& default_client_context();

/// A packed error code of OpenSSL's; one that only says that a system call failed, as that.
std::error_code ssl_error(unsigned long code) noexcept;
/// Takes this thread's last error.
std::error_code take_ssl_error() noexcept;

}  // namespace tornado::detail
