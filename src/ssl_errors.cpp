// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's errors, as error codes; and what of tornado/ssl.hpp is the same with and without it.
#include "tls_backend.hpp"
#include "tornado/ssl.hpp"

#include <fmt/format.h>

#include <string>
#include <utility>

#ifdef TORNADO_HAS_TLS
#include "ssl_access.hpp"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#endif

namespace tornado {
namespace {

class SSLCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "tornado.ssl"; }
  std::string message(int code) const override {
#ifdef TORNADO_HAS_TLS
    if (const char* reason = ERR_reason_error_string(static_cast<unsigned>(code))) return reason;
#endif
    return fmt::format("TLS error {:08X}", static_cast<unsigned>(code));
  }
};

class VerifyCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "tornado.ssl.verify"; }
  std::string message(int code) const override {
#ifdef TORNADO_HAS_TLS
    return fmt::format("certificate verify failed: {}", X509_verify_cert_error_string(code));
#else
    return fmt::format("certificate verify failed: {}", code);
#endif
  }
};

}  // namespace

const std::error_category& ssl_category() noexcept {
  static const SSLCategory category;
  return category;
}
const std::error_category& ssl_verify_category() noexcept {
  static const VerifyCategory category;
  return category;
}

bool detail::is_tls_error(const std::error_code& error) noexcept {
  return error.category() == ssl_category() || error.category() == ssl_verify_category();
}

SSLCertificate::SSLCertificate() = default;
SSLCertificate::SSLCertificate(SSLCertificate&&) noexcept = default;
SSLCertificate::SSLCertificate(const SSLCertificate&) = default;
SSLCertificate& SSLCertificate::operator=(SSLCertificate other) noexcept {
  subject.swap(other.subject);
  issuer.swap(other.issuer);
  subject_alt_names.swap(other.subject_alt_names);
  std::swap(not_before, other.not_before);
  std::swap(not_after, other.not_after);
  serial_number.swap(other.serial_number);
  der.swap(other.der);
  return *this;
}
SSLCertificate::~SSLCertificate() = default;

#ifdef TORNADO_HAS_TLS

namespace detail {

std::error_code ssl_error(unsigned long code) noexcept {
  if (ERR_SYSTEM_ERROR(code)) return {ERR_GET_REASON(code), std::system_category()};
  return {static_cast<int>(code), ssl_category()};
}

std::error_code take_ssl_error() noexcept {
  // A file that cannot be opened is several errors, of which the first is the system's.
  const unsigned long first = ERR_peek_error();
  const unsigned long code = ERR_SYSTEM_ERROR(first) ? first : ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return {};
  return ssl_error(code);
}

}  // namespace detail

#endif

}  // namespace tornado
