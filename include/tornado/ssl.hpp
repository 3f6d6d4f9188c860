// SPDX-License-Identifier: Apache-2.0
//
// tornado/ssl.hpp: how a TLS connection is configured. The streams are in <tornado/iostream.hpp>.
//
// The names are those of Python's `ssl` module, what is behind them is OpenSSL. In a library built
// without it (TORNADO_WITH_TLS) making a context throws std::runtime_error, and so does what needs
// one.
#pragma once

#include "tornado/detail/chrono.hpp"
#include "tornado/detail/export.hpp"
#include "tornado/detail/functional.hpp"

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace tornado {

class SSLContext;

namespace detail {
class SSLAccess;
/// \param ssl_ctx  an `SSL_CTX*`, of which the context becomes another owner.
TORNADO_EXPORT SSLContext share_ssl_context(void* ssl_ctx);
}  // namespace detail

/// The category of what OpenSSL reports, its packed error codes: an alert of the other end, bytes
/// that are no TLS, a file that is no certificate. Python: `ssl.SSLError`.
TORNADO_EXPORT const std::error_category& ssl_category() noexcept;
/// The category of the results of verifying a certificate, OpenSSL's `X509_V_ERR_` numbers:
/// expired, unknown issuer, another host's. Python: `ssl.SSLCertVerificationError`, its
/// `verify_code`.
TORNADO_EXPORT const std::error_category& ssl_verify_category() noexcept;

/// Which end of a connection this is. Python: the `server_side` arguments.
enum class ServerSide : bool { no, yes };

/// Whether the other end has to have a certificate. Python: `ssl.CERT_NONE` and so on.
enum class CertReqs {
  none,      ///< It is not asked for one (a server is), and what it has is not looked at.
  optional,  ///< What it has must be valid. For a client the same as `required`.
  required,
};

/// Python: `ssl.TLSVersion`. There is nothing below 1.2.
enum class TLSVersion { TLSv1_2, TLSv1_3 };

/// Python's dictionary `ssl_options`, with the same keys and some more. What is empty is left as it
/// is by default. The texts are copied by the call that takes them.
struct SSLOptions {
  std::string_view certfile = {};  ///< PEM: the certificate, and the chain above it.
  std::string_view keyfile = {};   ///< PEM; empty: the key is in certfile.
  std::string_view password = {};  ///< Of the key.
  /// By default a client requires a certificate, a server does not ask for one.
  std::optional<CertReqs> cert_reqs = {};
  std::string_view ca_certs = {};  ///< As for `SSLContext::load_verify_locations`.
  std::string_view ciphers = {};   ///< As for `SSLContext::set_ciphers`.
  TLSVersion minimum_version = TLSVersion::TLSv1_2;
  std::initializer_list<std::string_view> alpn_protocols = {};  ///< As for set_alpn_protocols.
};

/// What TLS connections have in common: certificates, keys, what is accepted.
/// Python: `ssl.SSLContext`.
///
///     SSLContext context = SSLContext::server();
///     context.load_cert_chain("server.crt", "server.key");
///
/// A handle: copies share one context. It may be used by several loops on several threads at once;
/// change it before, not meanwhile. A stream keeps what it needs of it.
///
/// The calls throw IOError, with a code in `ssl_category()` or of the system, where a file cannot
/// be read or used; the message names it.
class TORNADO_EXPORT SSLContext {
 public:
  /// None: where one is optional, the default. For a client that is `client()`, made once for the
  /// program; a server has none.
  SSLContext() noexcept = default;
  explicit operator bool() const noexcept { return context_ != nullptr; }
  friend bool operator==(const SSLContext& a, const SSLContext& b) noexcept {
    return a.context_ == b.context_;
  }

  /// For clients: requires a certificate that the system's certificate authorities have signed, for
  /// the host that is asked for; TLS 1.2 or later.
  /// Python: `ssl.create_default_context(Purpose.SERVER_AUTH)`.
  static SSLContext client();
  /// For servers, which need `load_cert_chain` too. Asks for no certificate; TLS 1.2 or later.
  /// Python: `ssl.create_default_context(Purpose.CLIENT_AUTH)`.
  static SSLContext server();

  /// The certificate to show, with the chain above it, and its key, from PEM files.
  ///
  /// \param keyfile   empty: the key is in certfile.
  /// \param password  of the key; nobody is asked for one.
  void load_cert_chain(std::string_view certfile, std::string_view keyfile = {},
                       std::string_view password = {});
  /// The same from memory.
  ///
  /// \param key  empty: it is in `certificates`.
  void load_cert_chain_data(std::string_view certificates, std::string_view key = {},
                            std::string_view password = {});
  /// Accepts certificates that these authorities have signed, beside others.
  ///
  /// \param ca_certs  a PEM file, or a folder of such files with hashed names (`openssl rehash`).
  void load_verify_locations(std::string_view ca_certs);
  /// The same from memory: one or more certificates as PEM. Python: `cadata`.
  void load_verify_data(std::string_view certificates);
  /// The system's authorities, as `client()` has them already.
  void set_default_verify_paths();

  /// Python: `verify_mode`. `none` switches the check of the name off too.
  void set_verify_mode(CertReqs mode);
  CertReqs verify_mode() const;
  /// Whether a client checks that the certificate is for the host that was asked for; on by
  /// default. Common names do not count, only subjectAltNames. Python: `check_hostname`.
  void set_check_hostname(bool on);
  bool check_hostname() const;
  /// Python: `minimum_version`, `maximum_version`.
  void set_minimum_version(TLSVersion version);
  void set_maximum_version(TLSVersion version);
  /// The ciphers of TLS 1.2, in OpenSSL's notation; those of TLS 1.3 stay as they are.
  void set_ciphers(std::string_view ciphers);

  /// The protocols to agree on (ALPN), the preferred one first: {"h2", "http/1.1"}. A server takes
  /// the first of the client's that it has; when it has none, there is none.
  ///
  /// \throws std::invalid_argument  when one is empty or longer than 255 bytes.
  void set_alpn_protocols(const std::vector<std::string>& protocols);

  /// For a server of several names: called, on a loop's thread, with the name that a client asks
  /// for, empty for none. Returns the context to go on with, or none for this one. An exception
  /// from it is logged, and ends the connection. Python: `sni_callback`.
  using SNICallback = std::function<SSLContext(std::string_view server_name)>;
  void set_sni_callback(SNICallback callback);

  /// How many sessions a server remembers, for clients of TLS 1.2 without tickets; 0 for none. By
  /// default 20480.
  void set_session_cache_size(std::size_t sessions);
  /// How many tickets a server gives to a client of TLS 1.3, to resume its session with; by default
  /// 2. With 0 there are none for TLS 1.2 either. Python: `num_tickets`.
  void set_num_tickets(std::size_t tickets);

  /// The `SSL_CTX*`, for what there is no function for here. It stays the context's.
  void* native_handle() const noexcept { return context_.get(); }

 private:
  friend detail::SSLAccess;
  explicit SSLContext(std::shared_ptr<void> context) noexcept : context_(std::move(context)) {}

  std::shared_ptr<void> context_;
};

/// What lets a later connection to the same server do without the larger part of the handshake.
/// Python: `ssl.SSLSession`. A handle; may be given to any thread.
class TORNADO_EXPORT SSLSession {
 public:
  SSLSession() noexcept = default;
  explicit operator bool() const noexcept { return session_ != nullptr; }

 private:
  friend detail::SSLAccess;
  explicit SSLSession(std::shared_ptr<void> session) noexcept : session_(std::move(session)) {}

  std::shared_ptr<void> session_;
};

/// What a certificate says. Python: the dictionary of `getpeercert`.
class TORNADO_EXPORT SSLCertificate {
 public:
  using TimePoint = std::chrono::system_clock::time_point;

  SSLCertificate();
  SSLCertificate(SSLCertificate&&) noexcept;
  SSLCertificate(const SSLCertificate&);
  SSLCertificate& operator=(SSLCertificate) noexcept;
  ~SSLCertificate();

  std::string subject;  ///< As RFC 2253 writes it: "CN=example.com,O=Example".
  std::string issuer;
  /// "DNS:example.com", "IP Address:127.0.0.1", "email:...", "URI:...".
  std::vector<std::string> subject_alt_names;
  TimePoint not_before;
  TimePoint not_after;
  std::string serial_number;  ///< Hexadecimal, in capitals.
  std::string der;            ///< All of it. Python: `getpeercert(binary_form=True)`.

  std::string pem() const;
};

namespace netutil {

/// A context with what `options` say.
///
/// \throws std::invalid_argument  when they contradict each other: a key without a certificate, a
///                                server without a certificate, or one that verifies without
///                                ca_certs.
/// \throws IOError                as SSLContext's functions.
TORNADO_EXPORT SSLContext ssl_options_to_context(const SSLOptions& options, ServerSide server_side);

}  // namespace netutil

}  // namespace tornado
