// SPDX-License-Identifier: Apache-2.0
//
// Where OpenSSL reads and writes.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <string_view>

namespace tornado::detail {

/// What is behind an SSL object's BIO.
class BioPeer {
 public:
  static constexpr int fails = -1;
  static constexpr int blocks = -2;

  /// How many bytes it has put into `buffer`; 0 at the end; `fails`, or `blocks`: not now.
  virtual int read_ciphertext(char* buffer, std::size_t size) noexcept = 0;
  /// Takes all of it.
  virtual void write_ciphertext(std::string_view data) noexcept = 0;
  /// read_ciphertext has told the end.
  virtual bool at_end() const noexcept = 0;

 protected:
  ~BioPeer() = default;
  /// Has `ssl` read and write here, for as long as both live. False when memory is short.
  bool attach(SSL* ssl);
};

}  // namespace tornado::detail
