// SPDX-License-Identifier: Apache-2.0
//
// tests/tls_support.hpp: certificates for tests, made when they are needed.
#pragma once

#include "tornado/ssl.hpp"

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace test {

/// As PEM.
struct Pem {
  std::string certificate;
  std::string key;
};

class CertificateRequest {
 public:
  std::string common_name = "localhost";
  /// As in OpenSSL's configuration: "DNS:localhost", "IP:127.0.0.1".
  std::vector<std::string> alt_names;
  bool expired = false;
  bool for_client = false;
  std::string password;  // of the key, which is not encrypted otherwise
};

/// A certificate authority.
class Authority {
 public:
  explicit Authority(const std::string& name = "tornado-asio test authority");
  /// With a new key.
  Pem issue(const CertificateRequest& request) const;
  const std::string& certificate() const noexcept { return pem_.certificate; }

 private:
  Pem pem_;
};

/// The one that `client_context` trusts, and `server_pem` is by.
const Authority& authority();
/// For localhost, foo.example.com and 127.0.0.1.
const Pem& server_pem();
/// Somebody's who signs it himself.
Pem self_signed_pem();

tornado::SSLContext server_context(const Pem& pem = server_pem());
tornado::SSLContext client_context();
/// Accepts any certificate.
tornado::SSLContext careless_context();

/// A file that goes with it.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// The number of openssl's results of verifying.
std::error_code verify_error(int code);

}  // namespace test
