// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tornado/ssl.hpp"

#include <openssl/x509.h>

namespace tornado::detail {

SSLCertificate describe(X509* certificate);

}  // namespace tornado::detail
