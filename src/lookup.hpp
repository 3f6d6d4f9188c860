// SPDX-License-Identifier: Apache-2.0
//
// What a Resolver's threads do.
#pragma once

#include "tornado/netutil.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace tornado::detail {

/// Every different address of `host`, by getaddrinfo. Blocks, unless it is an IP address.
///
/// \throws ResolverError  naming the host.
std::vector<Address> look_up(std::string_view host, std::uint16_t port, int family);

}  // namespace tornado::detail
