// SPDX-License-Identifier: Apache-2.0
//
// netutil: Address.
#include "support.hpp"
#include "tornado/netutil.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

using namespace std::string_literals;
using namespace std::string_view_literals;
using doctest::Contains;
using namespace tornado;

static_assert(sizeof(Address) <= 48);

TEST_SUITE("netutil") {
  TEST_CASE("Address: IPv4") {
    const Address address("127.0.0.1", 8888);
    CHECK(address.family() == AF_INET);
    CHECK(address.host() == "127.0.0.1");
    CHECK(address.port() == 8888);
    CHECK(address.path().empty());
    CHECK(address.str() == "127.0.0.1:8888");
    sockaddr_in native{};
    REQUIRE(address.size() == sizeof native);
    std::memcpy(&native, address.data(), sizeof native);
    CHECK(native.sin_family == AF_INET);
    CHECK(native.sin_port == htons(8888));
    CHECK(native.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  }

  TEST_CASE("Address: IPv6") {
    const Address address("2001:DB8:0::1", 65535);
    CHECK(address.family() == AF_INET6);
    CHECK(address.host() == "2001:db8::1");
    CHECK(address.port() == 65535);
    CHECK(address.str() == "[2001:db8::1]:65535");
    CHECK(address.size() == sizeof(sockaddr_in6));
  }

  TEST_CASE("Address: IPv6 with a scope") {
    const Address address("fe80::1%1", 80);
    CHECK(address.host().starts_with("fe80::1%"));
    CHECK(Address(address.host(), 80) == address);
    CHECK(address != Address("fe80::1", 80));
    CHECK_THROWS_AS(Address("fe80::1%no-such-interface", 80), std::invalid_argument);
  }

  TEST_CASE("Address: a host that is not an IP address is an error that names it") {
    CHECK_THROWS_WITH_AS(Address("localhost", 80), Contains("\"localhost\" is not an IP address"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(Address("127.0.0.1\0.evil.example"sv, 80), Contains("evil.example"),
                         std::invalid_argument);
    CHECK_THROWS_AS(Address("", 80), std::invalid_argument);
    CHECK_THROWS_AS(Address("[::1]", 80), std::invalid_argument);
  }

  TEST_CASE("Address: none") {
    const Address none;
    CHECK(none.family() == AF_UNSPEC);
    CHECK(none.host().empty());
    CHECK(none.port() == 0);
    CHECK(none.path().empty());
    CHECK(none.str().empty());
    CHECK(none.data() != nullptr);
    CHECK(none.size() == 0);
    CHECK(none == Address::from_native(nullptr, 0));
    CHECK(none != Address("0.0.0.0", 0));
  }

  TEST_CASE("Address.unix_path: a file, short or long") {
    // Up to 26 bytes are kept inside the Address.
    for (const std::size_t size : {1U, 26U, 27U, 107U}) {
      const std::string path(size, 'x');
      const Address address = Address::unix_path(path);
      const Address copy = address;
      CHECK(address.family() == AF_UNIX);
      CHECK(address.path() == path);
      CHECK(address.str() == "unix:" + path);
      CHECK(address.host().empty());
      CHECK(address.port() == 0);
      CHECK(address.size() == offsetof(sockaddr_un, sun_path) + size);
      CHECK(copy == address);
      CHECK(Address::from_native(address.data(), address.size()) == address);
    }
  }

  TEST_CASE("Address.unix_path: an abstract name") {
    const Address address = Address::unix_path("\0name\0more"sv);
    CHECK(address.path() == "\0name\0more"sv);
    CHECK(address.str() == "unix:@name@more");
    CHECK(Address::from_native(address.data(), address.size()) == address);
    CHECK(Address::unix_path("\0"s + std::string(107, 'x')).path().size() == 108);
  }

  TEST_CASE("Address.unix_path: what cannot be a path is an error that says why") {
    CHECK_THROWS_WITH_AS(Address::unix_path(""), Contains("empty"), std::invalid_argument);
    CHECK_THROWS_WITH_AS(Address::unix_path(std::string(108, 'x')),
                         Contains("xxx\" has 108 bytes, and the path of a Unix socket at most 107"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(Address::unix_path("\0"s + std::string(108, 'x')), Contains("at most 108"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(Address::unix_path("a\0b"sv), Contains("b\" contains a NUL byte"),
                         std::invalid_argument);
  }

  TEST_CASE("Address.from_native: bytes without a meaning do not count") {
    sockaddr_in ipv4{};
    std::memset(&ipv4, 0xFF, sizeof ipv4);
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(80);
    ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(Address::from_native(&ipv4, sizeof ipv4) == Address("127.0.0.1", 80));

    sockaddr_storage longer{};
    std::memcpy(&longer, &ipv4, sizeof ipv4);
    CHECK(Address::from_native(&longer, sizeof longer) == Address("127.0.0.1", 80));

    sockaddr_un path{};
    std::memset(&path, 'z', sizeof path);
    path.sun_family = AF_UNIX;
    std::strcpy(path.sun_path, "/file");
    CHECK(Address::from_native(&path, sizeof path) == Address::unix_path("/file"));
  }

  TEST_CASE("Address.from_native: a path that fills sun_path") {
    sockaddr_un path{};
    std::memset(&path, 'z', sizeof path);
    path.sun_family = AF_UNIX;
    CHECK(Address::from_native(&path, sizeof path).path() ==
          std::string(sizeof path.sun_path, 'z'));
  }

  TEST_CASE("Address.from_native: need not be aligned") {
    const Address address("::1", 80);
    std::array<std::byte, 40> bytes{};
    std::memcpy(bytes.data() + 1, address.data(), address.size());
    CHECK(Address::from_native(bytes.data() + 1, address.size()) == address);
  }

  TEST_CASE("Address.from_native: too few bytes for the family are an error") {
    for (const Address& address : {Address("127.0.0.1", 80), Address("::1", 80)}) {
      CHECK_THROWS_WITH_AS(Address::from_native(address.data(), address.size() - 1),
                           Contains(std::to_string(address.size() - 1).c_str()),
                           std::invalid_argument);
    }
    CHECK_THROWS_AS(Address::from_native("x", 1), std::invalid_argument);
  }

  TEST_CASE("Address.from_native: other families are kept as they are") {
    std::array<std::byte, 64> bytes{};
    const sa_family_t family = 44;
    std::memcpy(bytes.data() + offsetof(sockaddr, sa_family), &family, sizeof family);
    for (const std::size_t size : {12U, 64U}) {
      const Address address = Address::from_native(bytes.data(), size);
      CHECK(address.family() == 44);
      CHECK(address.str() == "an address of family 44");
      CHECK(address.size() == size);
    }
  }

  TEST_CASE("Address: equal by value, and a key for maps") {
    CHECK(Address("::1", 80) == Address("0:0::1", 80));
    CHECK(Address("::1", 80) != Address("::1", 81));
    const std::set<Address> set = {Address("::1", 80),
                                   Address("127.0.0.1", 80),
                                   Address("127.0.0.1", 81),
                                   Address("127.0.0.1", 80),
                                   Address::unix_path(std::string(60, 'x')),
                                   Address()};
    CHECK(set.size() == 5);
    CHECK(set.contains(Address("127.0.0.1", 81)));
  }
}
