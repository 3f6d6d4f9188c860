// SPDX-License-Identifier: Apache-2.0
//
// What takes the place of TLS in a library built without it.
#include "tls_backend.hpp"
#include "tornado/ssl.hpp"

#include <stdexcept>

namespace tornado {
namespace {

[[noreturn]] void refuse() {
  throw std::runtime_error(
      "this tornado-asio was built without TLS: build it with -DTORNADO_WITH_TLS=ON");
}

}  // namespace

SSLContext SSLContext::client() { refuse(); }
SSLContext SSLContext::server() { refuse(); }
// No context can be made, so nobody has one for which the others could be called.
void SSLContext::load_cert_chain(std::string_view, std::string_view, std::string_view) { refuse(); }
void SSLContext::load_cert_chain_data(std::string_view, std::string_view, std::string_view) {
  refuse();
}
void SSLContext::load_verify_locations(std::string_view) { refuse(); }
void SSLContext::load_verify_data(std::string_view) { refuse(); }
void SSLContext::set_default_verify_paths() { refuse(); }
void SSLContext::set_verify_mode(CertReqs) { refuse(); }
CertReqs SSLContext::verify_mode() const { refuse(); }
void SSLContext::set_check_hostname(bool) { refuse(); }
bool SSLContext::check_hostname() const { refuse(); }
void SSLContext::set_minimum_version(TLSVersion) { refuse(); }
void SSLContext::set_maximum_version(TLSVersion) { refuse(); }
void SSLContext::set_ciphers(std::string_view) { refuse(); }
void SSLContext::set_alpn_protocols(const std::vector<std::string>&) { refuse(); }
void SSLContext::set_sni_callback(SNICallback) { refuse(); }
void SSLContext::set_session_cache_size(std::size_t) { refuse(); }
void SSLContext::set_num_tickets(std::size_t) { refuse(); }
std::string SSLCertificate::pem() const { refuse(); }

SSLContext netutil::ssl_options_to_context(const SSLOptions&, ServerSide) { refuse(); }

void detail::require_side(const SSLContext&, ServerSide) { refuse(); }
SSLContext detail::share_ssl_context(void*) { refuse(); }
std::unique_ptr<detail::TlsBackend> detail::make_tls_backend(LoopCore&, const SSLContext&,
                                                             ServerSide, std::string_view,
                                                             const SSLSession&) {
  refuse();
}

}  // namespace tornado
