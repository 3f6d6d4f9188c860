// SPDX-License-Identifier: Apache-2.0
//
// Of netutil: Address.
#include "lookup.hpp"
#include "socket_system.hpp"
#include "tornado/netutil.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>

#ifndef _WIN32
#include <sys/un.h>
#endif

namespace tornado {
namespace {

#ifdef _WIN32
struct sockaddr_un {  // afunix.h has it, where there is one
  unsigned short sun_family;
  char sun_path[108];
};
#endif

constexpr std::size_t unix_path_offset = offsetof(sockaddr_un, sun_path);

constexpr std::size_t port_offset = offsetof(sockaddr_in, sin_port);
static_assert(port_offset == offsetof(sockaddr_in6, sin6_port));

int family_of(const void* data, std::size_t size) {
  if (size == 0) return AF_UNSPEC;
  decltype(sockaddr::sa_family) family;
  if (size < offsetof(sockaddr, sa_data)) {
    throw std::invalid_argument(fmt::format("Address: {} bytes are no sockaddr", size));
  }
  std::memcpy(&family, static_cast<const std::byte*>(data) + offsetof(sockaddr, sa_family),
              sizeof family);
  return family;
}

template <class T>
T read_native(const void* data, std::size_t size) {
  if (size < sizeof(T)) {
    throw std::invalid_argument(
        fmt::format("Address: {} bytes are too few for a sockaddr of its family, which has {}",
                    size, sizeof(T)));
  }
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

}  // namespace

Address::Address(std::string_view host, std::uint16_t port) {
  const auto list = detail::lookup_ip(host);
  if (!list) throw std::invalid_argument(fmt::format("Address: {:?} is not an IP address", host));
  *this = from_native(list->ai_addr, list->ai_addrlen);
  const std::uint16_t network_port = htons(port);
  std::memcpy(bytes_ + port_offset, &network_port, sizeof network_port);
}

Address Address::unix_path(std::string_view path) {
  sockaddr_un native{};
  const bool is_abstract = path.starts_with('\0');
  // A file name leaves room for the NUL byte that systems other than Linux ask for.
  const std::size_t limit = sizeof native.sun_path - (is_abstract ? 0 : 1);
  if (path.empty()) throw std::invalid_argument("Address: the path of a Unix socket is empty");
  if (path.size() > limit) {
    throw std::invalid_argument(
        fmt::format("Address: {:?} has {} bytes, and the path of a Unix socket at most {}", path,
                    path.size(), limit));
  }
  if (!is_abstract && path.find('\0') != path.npos) {
    throw std::invalid_argument(fmt::format("Address: the path {:?} contains a NUL byte", path));
  }
  native.sun_family = AF_UNIX;
  path.copy(native.sun_path, sizeof native.sun_path);
  Address address;
  address.assign(&native, unix_path_offset + path.size());
  return address;
}

// Keeps only what means something: padding, the length that BSD puts first and what stands behind a
// file name would make equal addresses differ.
Address Address::from_native(const void* data, std::size_t size) {
  Address address;
  switch (family_of(data, size)) {
    case AF_INET: {
      const auto native = read_native<sockaddr_in>(data, size);
      sockaddr_in clean{};
      clean.sin_family = AF_INET;
      clean.sin_port = native.sin_port;
      clean.sin_addr = native.sin_addr;
      address.assign(&clean, sizeof clean);
      break;
    }
    case AF_INET6: {
      const auto native = read_native<sockaddr_in6>(data, size);
      sockaddr_in6 clean{};
      clean.sin6_family = AF_INET6;
      clean.sin6_port = native.sin6_port;
      clean.sin6_flowinfo = native.sin6_flowinfo;
      clean.sin6_addr = native.sin6_addr;
      clean.sin6_scope_id = native.sin6_scope_id;
      address.assign(&clean, sizeof clean);
      break;
    }
    case AF_UNIX: {
      sockaddr_un clean{};
      const std::size_t length = std::min(size - unix_path_offset, sizeof clean.sun_path);
      clean.sun_family = AF_UNIX;
      std::memcpy(clean.sun_path, static_cast<const std::byte*>(data) + unix_path_offset, length);
      std::string_view path(clean.sun_path, length);
      if (!path.starts_with('\0')) path = path.substr(0, path.find('\0'));
      address.assign(&clean, unix_path_offset + path.size());
      break;
    }
    case AF_UNSPEC:
      break;
    default:
      address.assign(data, size);
  }
  return address;
}

void Address::assign(const void* data, std::size_t size) {
  if (size <= inline_size) {
    std::memcpy(bytes_, data, size);
  } else {
    overflow_ = std::make_shared<const std::string>(static_cast<const char*>(data), size);
  }
  size_ = static_cast<std::uint32_t>(size);
}

const void* Address::data() const noexcept {
  return overflow_ ? static_cast<const void*>(overflow_->data()) : bytes_;
}

int Address::family() const noexcept { return size_ == 0 ? AF_UNSPEC : family_of(data(), size_); }

std::string Address::host() const {
  if (family() != AF_INET && family() != AF_INET6) return {};
  char host[detail::max_ip_text + 1];
  const int error =
      ::getnameinfo(static_cast<const sockaddr*>(data()), static_cast<socklen_t>(size_), host,
                    sizeof host, nullptr, 0, NI_NUMERICHOST);
  if (error != 0) throw ResolverError(detail::resolver_error(error), "write an IP address as text");
  return host;
}

std::uint16_t Address::port() const noexcept {
  if (family() != AF_INET && family() != AF_INET6) return 0;
  std::uint16_t network_port;
  std::memcpy(&network_port, bytes_ + port_offset, sizeof network_port);
  return ntohs(network_port);
}

std::string_view Address::path() const noexcept {
  if (family() != AF_UNIX) return {};
  return {static_cast<const char*>(data()) + unix_path_offset, size_ - unix_path_offset};
}

std::string Address::str() const {
  switch (family()) {
    case AF_UNSPEC:
      return {};
    case AF_INET:
      return fmt::format("{}:{}", host(), port());
    case AF_INET6:
      return fmt::format("[{}]:{}", host(), port());
    case AF_UNIX: {
      std::string text = fmt::format("unix:{}", path());
      std::replace(text.begin(), text.end(), '\0', '@');
      return text;
    }
    default:
      return fmt::format("an address of family {}", family());
  }
}

bool operator==(const Address& a, const Address& b) noexcept { return (a <=> b) == 0; }

std::strong_ordering operator<=>(const Address& a, const Address& b) noexcept {
  const auto bytes = [](const Address& address) {
    return std::string_view(static_cast<const char*>(address.data()), address.size());
  };
  return bytes(a) <=> bytes(b);
}

}  // namespace tornado
