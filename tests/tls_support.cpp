// SPDX-License-Identifier: Apache-2.0
#include "tls_support.hpp"

#include <doctest/doctest.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <memory>
#include <stdexcept>
#include <utility>

#include <unistd.h>

namespace test {
namespace {

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

void check(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(what);
}

std::string text_of(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  return std::string(text, static_cast<std::size_t>(size));
}

std::string pem_of(X509* certificate) {
  const Memory memory(BIO_new(BIO_s_mem()));
  check(PEM_write_bio_X509(memory.get(), certificate) == 1, "a certificate");
  return text_of(memory.get());
}

std::string pem_of(EVP_PKEY* key, std::string password) {
  const Memory memory(BIO_new(BIO_s_mem()));
  const EVP_CIPHER* cipher = password.empty() ? nullptr : EVP_aes_128_cbc();
  check(PEM_write_bio_PKCS8PrivateKey(memory.get(), key, cipher, password.data(),
                                      static_cast<int>(password.size()), nullptr, nullptr) == 1,
        "a key");
  return text_of(memory.get());
}

Memory memory_of(const std::string& text) {
  return Memory(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  check(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1, value.c_str());
  X509_EXTENSION_free(extension);
}

Certificate make_certificate(const CertificateRequest& request, EVP_PKEY* key) {
  Certificate result(X509_new());
  X509* const certificate = result.get();
  X509_set_version(certificate, X509_VERSION_3);
  BIGNUM* const serial = BN_new();
  BN_rand(serial, 64, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY);
  BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate));
  BN_free(serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
  X509_gmtime_adj(X509_getm_notAfter(certificate), request.expired ? -3600 : 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.common_name.c_str()),
                             -1, -1, 0);
  std::string names;
  for (const std::string& name : request.alt_names) names += (names.empty() ? "" : ",") + name;
  if (!names.empty()) add_extension(certificate, certificate, NID_subject_alt_name, names);
  return result;
}

void sign(X509* certificate, X509* issuer, EVP_PKEY* key) {
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
  check(X509_sign(certificate, key, EVP_sha256()) > 0, "sign");
}

}  // namespace

Authority::Authority(const std::string& name) {
  const Key key(EVP_EC_gen("P-256"));
  CertificateRequest request;
  request.common_name = name;
  const Certificate certificate = make_certificate(request, key.get());
  add_extension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign");
  add_extension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash");
  sign(certificate.get(), certificate.get(), key.get());
  pem_ = {pem_of(certificate.get()), pem_of(key.get(), {})};
}

Pem Authority::issue(const CertificateRequest& request) const {
  const Certificate issuer(
      PEM_read_bio_X509(memory_of(pem_.certificate).get(), nullptr, nullptr, nullptr));
  const Key issuer_key(
      PEM_read_bio_PrivateKey(memory_of(pem_.key).get(), nullptr, nullptr, nullptr));
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate = make_certificate(request, key.get());
  add_extension(certificate.get(), issuer.get(), NID_ext_key_usage,
                request.for_client ? "clientAuth" : "serverAuth");
  sign(certificate.get(), issuer.get(), issuer_key.get());
  return {pem_of(certificate.get()), pem_of(key.get(), request.password)};
}

const Authority& authority() {
  static const Authority authority;
  return authority;
}

const Pem& server_pem() {
  static const Pem pem = [] {
    CertificateRequest request;
    request.alt_names = {"DNS:localhost", "DNS:foo.example.com", "IP:127.0.0.1"};
    return authority().issue(request);
  }();
  return pem;
}

Pem self_signed_pem() {
  const Key key(EVP_EC_gen("P-256"));
  CertificateRequest request;
  request.alt_names = {"DNS:localhost", "DNS:foo.example.com"};
  const Certificate certificate = make_certificate(request, key.get());
  sign(certificate.get(), certificate.get(), key.get());
  return {pem_of(certificate.get()), pem_of(key.get(), {})};
}

tornado::SSLContext server_context(const Pem& pem) {
  tornado::SSLContext context = tornado::SSLContext::server();
  context.load_cert_chain_data(pem.certificate, pem.key);
  return context;
}

tornado::SSLContext client_context() {
  tornado::SSLContext context = tornado::SSLContext::client();
  context.load_verify_data(authority().certificate());
  return context;
}

tornado::SSLContext careless_context() {
  return tornado::netutil::ssl_options_to_context({.cert_reqs = tornado::CertReqs::none},
                                                  tornado::ServerSide::no);
}

TemporaryFile::TemporaryFile(std::string_view content) : path_("/tmp/tornado-asio-test-XXXXXX") {
  const int fd = ::mkstemp(path_.data());
  check(fd >= 0 &&
            ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()),
        "a temporary file");
  ::close(fd);
}
TemporaryFile::~TemporaryFile() { ::unlink(path_.c_str()); }

std::error_code verify_error(int code) { return {code, tornado::ssl_verify_category()}; }

}  // namespace test
