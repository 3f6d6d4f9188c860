// SPDX-License-Identifier: Apache-2.0
#include "ssl_access.hpp"
#include "tls_backend.hpp"
#include "tornado/log.hpp"
#include "tornado/util.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>
#include <stdexcept>
#include <utility>

#include <sys/stat.h>

namespace tornado {
namespace detail {
namespace {

// Without a callback OpenSSL asks on the terminal.
int give_password(char* buffer, int size, int, void* user) noexcept {
  const auto& password = *static_cast<const std::string_view*>(user);
  if (password.empty() || size < 0 || password.size() > static_cast<std::size_t>(size)) return -1;
  return static_cast<int>(password.copy(buffer, static_cast<std::size_t>(size)));
}

/// A context's password, for the time of a call.
class Password {
 public:
  Password(SSL_CTX* context, std::string_view password) : context_(context), password_(password) {
    SSL_CTX_set_default_passwd_cb(context_, give_password);
    SSL_CTX_set_default_passwd_cb_userdata(context_, &password_);
  }
  ~Password() {
    static std::string_view none;
    SSL_CTX_set_default_passwd_cb_userdata(context_, &none);
  }
  Password(const Password&) = delete;
  Password& operator=(const Password&) = delete;
  std::string_view* get() noexcept { return &password_; }

 private:
  SSL_CTX* context_;
  std::string_view password_;
};

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
using Memory = std::unique_ptr<BIO, Freer<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

Memory memory_of(std::string_view text) {
  if (text.size() > INT_MAX) throw std::invalid_argument("SSLContext: too much PEM");
  Memory memory(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!memory) throw std::bad_alloc();
  return memory;
}

[[noreturn]] void throw_error(const std::string& what) {
  std::error_code code = take_ssl_error();
  if (!code) code = std::make_error_code(std::errc::invalid_argument);
  throw IOError(code, what);
}

void check(bool ok, const char* call, std::string_view about = {}) {
  if (ok) return;
  throw_error(about.empty() ? fmt::format("SSLContext::{}", call)
                            : fmt::format("SSLContext::{}: {}", call, about));
}

int version_number(TLSVersion version) {
  return version == TLSVersion::TLSv1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

SSL_CTX* of(const SSLContext& context) {
  SSL_CTX* const result = SSLAccess::get(context);
  if (result == nullptr) throw std::logic_error("SSLContext: the handle means no context");
  ERR_clear_error();
  return result;
}

// A client's order goes before the server's.
int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void* extras) noexcept {
  const std::string& ours = static_cast<const SSLExtras*>(extras)->alpn;
  for (unsigned i = 0; i < in_size; i += in[i] + 1U) {
    for (std::size_t j = 0; j < ours.size(); j += static_cast<unsigned char>(ours[j]) + 1U) {
      const std::string_view theirs(reinterpret_cast<const char*>(in) + i, in[i] + 1U);
      if (theirs != std::string_view(ours).substr(j, theirs.size())) continue;
      *out = in + i + 1;
      *out_size = in[i];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_NOACK;
}

int select_context(SSL* ssl, int*, void* extras) noexcept {
  const auto& callback = static_cast<const SSLExtras*>(extras)->sni_callback;
  if (!callback) return SSL_TLSEXT_ERR_NOACK;
  try {
    const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const SSLContext chosen = callback(name == nullptr ? std::string_view() : name);
    // The connection keeps the certificate, and holds the context itself.
    if (chosen && SSL_set_SSL_CTX(ssl, SSLAccess::get(chosen)) == nullptr) {
      return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (chosen) SSL_set_verify(ssl, SSL_CTX_get_verify_mode(SSLAccess::get(chosen)), nullptr);
    return SSL_TLSEXT_ERR_OK;
  } catch (...) {
    log::log_exception(log::app_log, "Error in an SNI callback", std::current_exception());
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
}

SSLContext make_context(const SSL_METHOD* method) {
  ERR_clear_error();
  SSL_CTX* const context = SSL_CTX_new(method);
  if (context == nullptr) throw_error("SSLContext");
  SSLContext result = SSLAccess::context(context);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  // Without one, a server that verifies cannot resume.
  static constexpr unsigned char id[] = "tornado";
  SSL_CTX_set_session_id_context(context, id, sizeof id - 1);
  const Password no_password(context, {});
  SSLExtras::of(context);  // now, since streams on several threads may look for them at once
  return result;
}

void use_chain(SSL_CTX* context, std::string_view certificates, std::string_view* password) {
  constexpr const char* call = "load_cert_chain_data";
  const Memory memory = memory_of(certificates);
  const Certificate leaf(PEM_read_bio_X509_AUX(memory.get(), nullptr, give_password, password));
  check(leaf && SSL_CTX_use_certificate(context, leaf.get()) == 1, call);
  SSL_CTX_clear_chain_certs(context);
  for (;;) {
    Certificate next(PEM_read_bio_X509(memory.get(), nullptr, give_password, password));
    if (!next) break;
    check(SSL_CTX_add0_chain_cert(context, next.get()) == 1, call);
    static_cast<void>(next.release());
  }
  const unsigned long error = ERR_peek_last_error();
  check(ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE, call);
  ERR_clear_error();
}

}  // namespace

SSLExtras& SSLExtras::of(SSL_CTX* context) {
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* extras, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<SSLExtras*>(extras);
      });
  auto* extras = static_cast<SSLExtras*>(SSL_CTX_get_ex_data(context, index));
  if (extras == nullptr) {
    extras = new SSLExtras;
    if (SSL_CTX_set_ex_data(context, index, extras) != 1) {
      delete extras;
      throw std::bad_alloc();
    }
  }
  return *extras;
}

const SSLContext& default_client_context() {
  static const SSLContext context = SSLContext::client();
  return context;
}

SSLContext share_ssl_context(void* ssl_ctx) {
  auto* const context = static_cast<SSL_CTX*>(ssl_ctx);
  if (context == nullptr) throw std::invalid_argument("make_ssl_context: there is no context");
  SSLExtras::of(context);
  SSL_CTX_up_ref(context);
  return SSLAccess::context(context);
}

}  // namespace detail

using detail::check;
using detail::of;

SSLContext SSLContext::client() {
  SSLContext context = detail::make_context(TLS_client_method());
  context.set_verify_mode(CertReqs::required);
  context.set_default_verify_paths();
  return context;
}

SSLContext SSLContext::server() { return detail::make_context(TLS_server_method()); }

void SSLContext::load_cert_chain(std::string_view certfile, std::string_view keyfile,
                                 std::string_view password) {
  SSL_CTX* const context = of(*this);
  const detail::Password given(context, password);
  const std::string certificate(certfile);
  const std::string key(keyfile.empty() ? certfile : keyfile);
  check(SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) == 1, "load_cert_chain",
        certificate);
  check(SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) == 1, "load_cert_chain",
        key);
}

void SSLContext::load_cert_chain_data(std::string_view certificates, std::string_view key,
                                      std::string_view password) {
  SSL_CTX* const context = of(*this);
  detail::Password given(context, password);
  detail::use_chain(context, certificates, given.get());
  const detail::Memory memory = detail::memory_of(key.empty() ? certificates : key);
  const detail::Key loaded(
      PEM_read_bio_PrivateKey(memory.get(), nullptr, detail::give_password, given.get()));
  check(loaded && SSL_CTX_use_PrivateKey(context, loaded.get()) == 1, "load_cert_chain_data");
}

void SSLContext::load_verify_locations(std::string_view ca_certs) {
  SSL_CTX* const context = of(*this);
  const std::string path(ca_certs);
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw IOError(std::error_code(errno, std::system_category()),
                  "SSLContext::load_verify_locations: " + path);
  }
  const bool folder = (status.st_mode & S_IFMT) == S_IFDIR;
  check((folder ? SSL_CTX_load_verify_dir(context, path.c_str())
                : SSL_CTX_load_verify_file(context, path.c_str())) == 1,
        "load_verify_locations", path);
}

void SSLContext::load_verify_data(std::string_view certificates) {
  SSL_CTX* const context = of(*this);
  const detail::Memory memory = detail::memory_of(certificates);
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  int count = 0;
  for (;;) {
    const detail::Certificate next(PEM_read_bio_X509(memory.get(), nullptr, nullptr, nullptr));
    if (!next) break;
    check(X509_STORE_add_cert(store, next.get()) == 1, "load_verify_data");
    ++count;
  }
  const unsigned long error = ERR_peek_last_error();
  const bool at_end =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  check(count > 0 && at_end, "load_verify_data");
  ERR_clear_error();
}

void SSLContext::set_default_verify_paths() {
  check(SSL_CTX_set_default_verify_paths(of(*this)) == 1, "set_default_verify_paths");
}

void SSLContext::set_verify_mode(CertReqs mode) {
  int bits = SSL_VERIFY_NONE;
  if (mode != CertReqs::none) bits |= SSL_VERIFY_PEER;
  if (mode == CertReqs::required) bits |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX* const context = of(*this);
  SSL_CTX_set_verify(context, bits, SSL_CTX_get_verify_callback(context));
}

CertReqs SSLContext::verify_mode() const {
  SSL_CTX* const context = of(*this);
  const int bits = SSL_CTX_get_verify_mode(context);
  if ((bits & SSL_VERIFY_PEER) == 0) return CertReqs::none;
  const bool client = SSL_CTX_get_ssl_method(context) == TLS_client_method();
  return client || (bits & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) != 0 ? CertReqs::required
                                                                 : CertReqs::optional;
}

void SSLContext::set_check_hostname(bool on) {
  detail::SSLExtras::of(of(*this)).check_hostname = on;
}
bool SSLContext::check_hostname() const { return detail::SSLExtras::of(of(*this)).check_hostname; }

void SSLContext::set_minimum_version(TLSVersion version) {
  SSL_CTX_set_min_proto_version(of(*this), detail::version_number(version));
}
void SSLContext::set_maximum_version(TLSVersion version) {
  SSL_CTX_set_max_proto_version(of(*this), detail::version_number(version));
}

void SSLContext::set_ciphers(std::string_view ciphers) {
  const std::string list(ciphers);
  check(SSL_CTX_set_cipher_list(of(*this), list.c_str()) == 1, "set_ciphers", list);
}

void SSLContext::set_alpn_protocols(const std::vector<std::string>& protocols) {
  SSL_CTX* const context = of(*this);
  std::string wire;
  for (const std::string& protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) {
      throw std::invalid_argument("SSLContext::set_alpn_protocols: a name has 1 to 255 bytes");
    }
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  if (SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(wire.data()),
                              static_cast<unsigned>(wire.size())) != 0) {
    throw std::bad_alloc();
  }
  auto& extras = detail::SSLExtras::of(context);
  extras.alpn = std::move(wire);
  SSL_CTX_set_alpn_select_cb(context, extras.alpn.empty() ? nullptr : detail::select_alpn, &extras);
}

void SSLContext::set_sni_callback(SNICallback callback) {
  SSL_CTX* const context = of(*this);
  auto& extras = detail::SSLExtras::of(context);
  extras.sni_callback = std::move(callback);
  SSL_CTX_set_tlsext_servername_callback(context, detail::select_context);
  SSL_CTX_set_tlsext_servername_arg(context, &extras);
}

void SSLContext::set_session_cache_size(std::size_t sessions) {
  SSL_CTX* const context = of(*this);
  SSL_CTX_set_session_cache_mode(context,
                                 sessions == 0 ? SSL_SESS_CACHE_OFF : SSL_SESS_CACHE_SERVER);
  SSL_CTX_sess_set_cache_size(context,
                              static_cast<long>(std::min<std::size_t>(sessions, LONG_MAX)));
}

void SSLContext::set_num_tickets(std::size_t tickets) {
  SSL_CTX* const context = of(*this);
  SSL_CTX_set_num_tickets(context, tickets);
  if (tickets == 0) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  } else {
    SSL_CTX_clear_options(context, SSL_OP_NO_TICKET);
  }
}

SSLContext netutil::ssl_options_to_context(const SSLOptions& options, ServerSide server_side) {
  const bool server = server_side == ServerSide::yes;
  const auto refuse = [](const char* why) {
    throw std::invalid_argument(fmt::format("SSLOptions: {}", why));
  };
  if (options.certfile.empty() && !options.keyfile.empty()) refuse("keyfile without certfile");
  if (options.certfile.empty() && server) refuse("a server has to have a certfile");
  const CertReqs reqs = options.cert_reqs.value_or(server ? CertReqs::none : CertReqs::required);
  if (server && reqs != CertReqs::none && options.ca_certs.empty()) {
    refuse("a server that verifies has to have ca_certs");
  }
  SSLContext context = server ? SSLContext::server()
                              : (options.ca_certs.empty() && reqs != CertReqs::none
                                     ? SSLContext::client()
                                     : detail::make_context(TLS_client_method()));
  if (!options.certfile.empty()) {
    context.load_cert_chain(options.certfile, options.keyfile, options.password);
  }
  context.set_verify_mode(reqs);
  if (!options.ca_certs.empty()) context.load_verify_locations(options.ca_certs);
  if (!options.ciphers.empty()) context.set_ciphers(options.ciphers);
  context.set_minimum_version(options.minimum_version);
  if (options.alpn_protocols.size() > 0) {
    context.set_alpn_protocols({options.alpn_protocols.begin(), options.alpn_protocols.end()});
  }
  return context;
}

}  // namespace tornado
