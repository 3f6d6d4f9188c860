// SPDX-License-Identifier: Apache-2.0
#include "tornado/tcpclient.hpp"

#include "tornado/gen.hpp"

namespace tornado {

TCPClient::TCPClient() noexcept = default;

Future<IOStream> TCPClient::connect(std::string_view host, std::uint16_t port,
                                    const ConnectOptions& options) const {
  Address address(host, port);
  IOStream stream(Socket::tcp(address.family()), options.stream);
  return stream.connect(address);
}

}  // namespace tornado
