// SPDX-License-Identifier: Apache-2.0
//
// Of netutil: names and their addresses, by getaddrinfo, and its errors.
#include "lookup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <new>
#include <string>
#include <utility>

namespace tornado {
namespace {

class ResolverCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "tornado.resolver"; }

  std::string message(int code) const override {
#ifdef _WIN32
    // The codes are Winsock's, and gai_strerror shares one buffer among all threads.
    return std::system_category().message(code);
#else
    return ::gai_strerror(code);
#endif
  }
};

}  // namespace

ResolverError::~ResolverError() = default;

const std::error_category& netutil::resolver_category() noexcept {
  // Never destroyed: a lookup may fail on its thread while the program exits.
  alignas(ResolverCategory) static std::byte memory[sizeof(ResolverCategory)];
  static const ResolverCategory& category = *::new (memory) ResolverCategory;
  return category;
}

namespace detail {
namespace {

// getaddrinfo for stream sockets. Null if it fails, with its code in `error`.
AddrinfoList lookup(const char* host, const char* service, int family, int flags, int& error) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  error = ::getaddrinfo(host, service, &hints, &list);
  return AddrinfoList(error == 0 ? list : nullptr);
}

}  // namespace

AddrinfoList lookup_ip(std::string_view ip) {
  char host[max_ip_text + 1];
  // getaddrinfo takes nothing for the loopback address, and reads up to a NUL byte only.
  if (ip.empty() || ip.size() > max_ip_text || ip.find('\0') != ip.npos) return nullptr;
  host[ip.copy(host, sizeof host)] = '\0';
  int error = 0;
  return lookup(host, nullptr, AF_UNSPEC, AI_NUMERICHOST, error);
}

std::error_code resolver_error(int error) {
#ifdef EAI_SYSTEM
  if (error == EAI_SYSTEM) return {last_socket_error(), std::system_category()};
#endif
  return {error, netutil::resolver_category()};
}

std::vector<Address> resolve(std::string_view host, std::uint16_t port, int family, int flags) {
  // getaddrinfo would look up what stands before a NUL byte.
  int error = EAI_NONAME;
  AddrinfoList list;
  if (host.find('\0') == host.npos) {
    list = lookup(host.empty() ? nullptr : std::string(host).c_str(), std::to_string(port).c_str(),
                  family, flags, error);
  }
  if (!list) {
    throw ResolverError(resolver_error(error), fmt::format("resolve {:?} (port {})", host, port));
  }
  std::vector<Address> addresses;
  for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
    Address address = Address::from_native(entry->ai_addr, entry->ai_addrlen);
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(std::move(address));
    }
  }
  return addresses;
}

std::vector<Address> look_up(std::string_view host, std::uint16_t port, int family) {
  if (host.empty()) {  // all interfaces, to resolve()
    throw ResolverError(resolver_error(EAI_NONAME),
                        fmt::format("resolve {:?} (port {})", host, port));
  }
  return resolve(host, port, family, 0);
}

}  // namespace detail
}  // namespace tornado
