// SPDX-License-Identifier: Apache-2.0
#include "tls_bio.hpp"

#include <openssl/bio.h>

#include <memory>

namespace tornado::detail {
namespace {

BioPeer& peer_of(BIO* bio) noexcept { return *static_cast<BioPeer*>(BIO_get_data(bio)); }

int read_bio(BIO* bio, char* buffer, int size) noexcept {
  BIO_clear_retry_flags(bio);
  if (buffer == nullptr || size <= 0) return 0;
  const int count = peer_of(bio).read_ciphertext(buffer, static_cast<std::size_t>(size));
  if (count != BioPeer::blocks) return count;
  BIO_set_retry_read(bio);
  return -1;
}

int write_bio(BIO* bio, const char* data, int size) noexcept {
  BIO_clear_retry_flags(bio);
  if (data == nullptr || size <= 0) return 0;
  peer_of(bio).write_ciphertext({data, static_cast<std::size_t>(size)});
  return size;
}

long control_bio(BIO* bio, int command, long, void*) noexcept {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return peer_of(bio).at_end() ? 1 : 0;
  return 0;
}

struct FreeMethod {
  void operator()(BIO_METHOD* method) const noexcept { BIO_meth_free(method); }
};

const BIO_METHOD* method() {
  static const std::unique_ptr<BIO_METHOD, FreeMethod> method = [] {
    std::unique_ptr<BIO_METHOD, FreeMethod> made(
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tornado"));
    if (made) {
      BIO_meth_set_read(made.get(), read_bio);
      BIO_meth_set_write(made.get(), write_bio);
      BIO_meth_set_ctrl(made.get(), control_bio);
    }
    return made;
  }();
  return method.get();
}

}  // namespace

bool BioPeer::attach(SSL* ssl) {
  if (method() == nullptr) return false;
  BIO* const bio = BIO_new(method());
  if (bio == nullptr) return false;
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return true;
}

}  // namespace tornado::detail
