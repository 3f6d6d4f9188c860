// SPDX-License-Identifier: Apache-2.0
//
// getaddrinfo: what a Resolver's threads do, and how the text of an IP address is read.
#pragma once

#include "socket_system.hpp"
#include "tornado/netutil.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

namespace tornado::detail {

/// An IPv6 address and the name of an interface; no text of an IP address is longer.
inline constexpr std::size_t max_ip_text = 46 + 64;

struct AddrinfoDeleter {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddrinfoList = std::unique_ptr<addrinfo, AddrinfoDeleter>;

/// Null if `ip` is not the text of an address.
AddrinfoList lookup_ip(std::string_view ip);

/// A code of getaddrinfo's as an error.
std::error_code resolver_error(int error);

/// Every different address of `host` in the resolver's order. No host: AI_PASSIVE says which.
std::vector<Address> resolve(std::string_view host, std::uint16_t port, int family, int flags);

/// Every different address of `host`, by getaddrinfo. Blocks, unless it is an IP address.
///
/// \throws ResolverError  naming the host.
std::vector<Address> look_up(std::string_view host, std::uint16_t port, int family);

}  // namespace tornado::detail
