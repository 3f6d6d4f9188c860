// SPDX-License-Identifier: Apache-2.0
//
// What a certificate says.
#include "ssl_certificate.hpp"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>
#include <string>

namespace tornado {
namespace detail {
namespace {

struct FreeBio {
  void operator()(BIO* bio) const noexcept { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

std::string name_of(const X509_NAME* name) {
  const Bio bio(BIO_new(BIO_s_mem()));
  // As UTF-8.
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  return text_of(bio.get());
}

SSLCertificate::TimePoint time_of(const ASN1_TIME* time) {
  ASN1_TIME* const epoch = ASN1_TIME_set(nullptr, 0);
  int days = 0;
  int seconds = 0;
  ASN1_TIME_diff(&days, &seconds, epoch, time);
  ASN1_TIME_free(epoch);
  return SSLCertificate::TimePoint(std::chrono::hours(24) * days + std::chrono::seconds(seconds));
}

std::string serial_of(const ASN1_INTEGER* serial) {
  BIGNUM* const number = ASN1_INTEGER_to_BN(serial, nullptr);
  char* const digits = BN_bn2hex(number);
  std::string result = digits == nullptr ? std::string() : digits;
  OPENSSL_free(digits);
  BN_free(number);
  return result;
}

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> result;
  auto* const names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const Bio bio(BIO_new(BIO_s_mem()));
    GENERAL_NAME_print(bio.get(), sk_GENERAL_NAME_value(names, i));
    result.push_back(text_of(bio.get()));
  }
  GENERAL_NAMES_free(names);
  return result;
}

}  // namespace

SSLCertificate describe(X509* certificate) {
  SSLCertificate result;
  result.subject = name_of(X509_get_subject_name(certificate));
  result.issuer = name_of(X509_get_issuer_name(certificate));
  result.subject_alt_names = names_of(certificate);
  result.not_before = time_of(X509_get0_notBefore(certificate));
  result.not_after = time_of(X509_get0_notAfter(certificate));
  result.serial_number = serial_of(X509_get0_serialNumber(certificate));
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size > 0) result.der.assign(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return result;
}

}  // namespace detail

std::string SSLCertificate::pem() const {
  const detail::Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio(bio.get(), PEM_STRING_X509, "", reinterpret_cast<const unsigned char*>(der.data()),
                static_cast<long>(der.size()));
  return detail::text_of(bio.get());
}

}  // namespace tornado
