// SPDX-License-Identifier: Apache-2.0
//
// The functions of netutil that need no loop. Its classes are tested in address_test.cpp and
// socket_test.cpp, add_accept_handler in accept_test.cpp, the resolvers in resolver_test.cpp.
#include "tornado/netutil.hpp"

#include "socket_support.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

using namespace std::string_literals;
using namespace std::string_view_literals;
using doctest::Contains;
using namespace tornado;
using netutil::bind_sockets;
using netutil::bind_unix_socket;
using netutil::is_valid_ip;
using test::begin_connect;
using test::connect_client;
using test::have_ipv6;
using test::is_close_on_exec;
using test::is_non_blocking;
using test::WithDescriptorLimit;

namespace {

std::vector<Address> addresses_of(const std::vector<Socket>& sockets) {
  std::vector<Address> addresses;
  for (const Socket& socket : sockets) addresses.push_back(socket.local_address());
  return addresses;
}

// A directory for Unix sockets, removed with what is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() { REQUIRE(::mkdtemp(path_.data()) != nullptr); }
  ~TemporaryDirectory() {
    for (const auto& name : names_) ::unlink(name.c_str());
    ::rmdir(path_.c_str());
  }

  std::string file(std::string_view name) {
    names_.push_back(path_ + "/" + std::string(name));
    return names_.back();
  }

 private:
  std::string path_ = "/tmp/tornado-test-XXXXXX";
  std::vector<std::string> names_;
};

class WithUmask {
 public:
  explicit WithUmask(mode_t mask) : previous_(::umask(mask)) {}
  ~WithUmask() { ::umask(previous_); }

 private:
  mode_t previous_;
};

unsigned mode_of(const std::string& file) {
  struct stat status {};
  REQUIRE(::lstat(file.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

#ifdef __linux__
constexpr int not_possible = 99;

// The exit status of a child process that runs `f`: 0 if all is well, `not_possible` where this
// machine does not let it make the surroundings it needs.
template <class F>
int in_child(F f) {
  std::fflush(stdout);  // or the child would write it once more
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      ::_exit(f());
    } catch (...) {
      ::_exit(98);
    }
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void check_result(int result) {
  WARN_MESSAGE(result != not_possible, "not tested: this process may not do what is needed");
  if (result != not_possible) CHECK(result == 0);
}

// Docker's default for this process: the loopback interface has 127.0.0.1 but not ::1.
bool lose_ipv6_loopback() {
  struct {
    in6_addr address;
    std::uint32_t prefix_length;
    int interface;
  } loopback6{IN6ADDR_LOOPBACK_INIT, 128, 1};
  ifreq loopback{};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP;
  return ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
         ::ioctl(Socket::tcp(AF_INET).native_handle(), SIOCSIFFLAGS, &loopback) == 0 &&
         ::ioctl(Socket::tcp(AF_INET6).native_handle(), SIOCDIFADDR, &loopback6) == 0;
}

// Makes `file` this process's /etc/hosts.
bool use_hosts(const std::string& file) {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(file.c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr) == 0;
}

// A system without IPv6, for this process: making such a socket fails.
bool lose_ipv6() {
  std::array<sock_filter, 6> filter = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{filter.size(), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#endif

static_assert(std::is_trivially_destructible_v<BindOptions>);
static_assert(std::is_base_of_v<IOError, ResolverError>);
static_assert(std::is_same_v<netutil::Socket, Socket> && std::is_same_v<netutil::Address, Address>);

}  // namespace

TEST_SUITE("netutil") {
  // Python: netutil_test.TestPortAllocation.test_same_port_allocation
  TEST_CASE("netutil.bind_sockets: port 0 gives one port for all families") {
    for (const auto* address : {"localhost", ""}) {
      const auto sockets = bind_sockets(0, address);
      REQUIRE_FALSE(sockets.empty());
      const auto port = sockets.front().local_address().port();
      CHECK(port != 0);
      for (const Socket& socket : sockets) CHECK(socket.local_address().port() == port);
    }
  }

  // Python: netutil_test.TestPortAllocation.test_reuse_port
  TEST_CASE("netutil.bind_sockets: with reuse_port several listen on one port") {
    const auto [socket, port] = test::bind_unused_port(true);
    const auto sockets = bind_sockets(port, "127.0.0.1", {.reuse_port = true});
    CHECK(addresses_of(sockets) == std::vector{Address("127.0.0.1", port)});
    CHECK(sockets.front().reuse_port());
    CHECK_THROWS_AS(bind_sockets(port, "127.0.0.1"), std::system_error);
  }

  TEST_CASE("netutil.bind_sockets: no address means all interfaces of both families, IPv4 first") {
    const auto sockets = bind_sockets(0);
    const auto port = sockets.front().local_address().port();
    std::vector expected = {Address("0.0.0.0", port)};
    if (have_ipv6()) expected.emplace_back("::", port);
    CHECK(addresses_of(sockets) == expected);
    for (const Socket& socket : sockets) {
      CHECK(is_non_blocking(socket));
      CHECK(is_close_on_exec(socket));
      CHECK(socket.reuse_address());
      CHECK_FALSE(socket.reuse_port());
      CHECK(socket.getsockopt(SOL_SOCKET, SO_ACCEPTCONN) == 1);
    }
  }

  TEST_CASE("netutil.bind_sockets: an IPv6 socket takes IPv6 connections only" *
            doctest::skip(!have_ipv6())) {
    const auto sockets = bind_sockets(0, "", {.family = AF_INET6});
    REQUIRE(sockets.size() == 1);
    CHECK(sockets.front().getsockopt(IPPROTO_IPV6, IPV6_V6ONLY) == 1);
    // So the same port can be had for IPv4.
    const auto port = sockets.front().local_address().port();
    CHECK(bind_sockets(port, "", {.family = AF_INET}).size() == 1);
  }

  TEST_CASE("netutil.bind_sockets: a port in use is an error that names address and port") {
    const auto [socket, port] = test::bind_unused_port();
    const std::string message = "bind to 127.0.0.1:" + std::to_string(port) + ": ";
    CHECK_THROWS_WITH_AS(bind_sockets(port, "127.0.0.1"), Contains(message.c_str()),
                         std::system_error);
    CHECK_THROWS_WITH_AS(bind_sockets(port), Contains(std::to_string(port).c_str()),
                         std::system_error);
  }

  TEST_CASE("netutil.bind_sockets: an address of another machine is an error that names it") {
    CHECK_THROWS_WITH_AS(bind_sockets(0, "192.0.2.1"), Contains("bind to 192.0.2.1:0: "),
                         std::system_error);
  }

  TEST_CASE("netutil.bind_sockets: a port taken in the second family is tried again" *
            doctest::skip(!have_ipv6())) {
    // Of the ports that the system may choose from, so many are taken on ::1 that some of the calls
    // below run into one: practically always, but no call does ten times in a row.
    const WithDescriptorLimit limit(1000);
    std::vector<Socket> taken;
    for (int i = 0; i < 800; ++i) {
      taken.push_back(Socket::tcp(AF_INET6));
      taken.back().bind(Address("::1", 0));
    }
    for (int i = 0; i < 300; ++i) REQUIRE_FALSE(bind_sockets(0).empty());
  }

  TEST_CASE("netutil.bind_sockets: a name that does not resolve is an error that names it") {
    try {
      bind_sockets(80, "an invalid host");
      FAIL("resolved");
    } catch (const ResolverError& e) {
      CHECK(&e.code().category() == &netutil::resolver_category());
      CHECK(std::string(e.what()) ==
            "resolve \"an invalid host\" (port 80): " + e.code().message());
    }
    CHECK_THROWS_WITH_AS(bind_sockets(80, "localhost\0.example"sv), Contains(".example\""),
                         IOError);
  }

  TEST_CASE("netutil.bind_sockets: flags are those of getaddrinfo") {
    try {
      bind_sockets(0, "localhost", {.flags = AI_PASSIVE | AI_NUMERICHOST});
      FAIL("resolved");
    } catch (const ResolverError& e) {
      CHECK(e.code() == std::error_code(EAI_NONAME, netutil::resolver_category()));
    }
    // Without AI_PASSIVE no address means the loopback interface.
    const auto sockets = bind_sockets(0, "", {.family = AF_INET, .flags = 0});
    CHECK(sockets.front().local_address().host() == "127.0.0.1");
  }

  TEST_CASE("netutil.bind_sockets: the backlog is applied") {
    auto sockets = bind_sockets(0, "127.0.0.1", {.backlog = 0});
    const Address address = sockets.front().local_address();
    // A backlog of none still holds one connection on Linux; the next ones do not get through.
    std::vector<Socket> clients;
    int connected = 0;
    for (int i = 0; i < 5; ++i) {
      clients.push_back(Socket::tcp(AF_INET));
      begin_connect(clients.back(), address);
      pollfd entry{clients.back().native_handle(), POLLOUT, 0};
      connected += ::poll(&entry, 1, 50);
    }
    CHECK(connected < 5);
  }

#ifdef __linux__
  TEST_CASE("netutil.bind_sockets: the ::1 of localhost may be missing, and twice is once") {
    TemporaryDirectory directory;
    const std::string hosts = directory.file("hosts");
    std::ofstream(hosts) << "127.0.0.1 localhost\n"
                            "127.0.0.1 localhost\n"
                            "::1 localhost\n"
                            "127.0.0.1 other\n"
                            "::1 other\n";
    check_result(in_child([&] {
      if (!lose_ipv6_loopback() || !use_hosts(hosts)) return not_possible;
      const auto is_not_available = [](std::string_view address, BindOptions options = {}) {
        try {
          bind_sockets(0, address, options);
        } catch (const std::system_error& e) {
          return e.code() == std::errc::address_not_available;
        }
        return false;
      };
      if (!is_not_available("::1")) return 1;
      const auto sockets = bind_sockets(0, "localhost");
      if (sockets.size() != 1) return 2;
      if (sockets.front().local_address().host() != "127.0.0.1") return 3;
      // No other name, and no other address, is let off.
      if (!is_not_available("other")) return 4;
      if (!is_not_available("192.0.2.1")) return 5;
      // A server that hears nothing is not made.
      if (!is_not_available("localhost", {.family = AF_INET6})) return 6;
      return 0;
    }));
  }

  TEST_CASE("netutil.bind_sockets: a family that the system does not have is passed over") {
    check_result(in_child([] {
      if (!lose_ipv6()) return not_possible;
      const auto sockets = bind_sockets(0);
      if (sockets.size() != 1) return 1;
      if (sockets.front().local_address().host() != "0.0.0.0") return 2;
      try {
        bind_sockets(0, "", {.family = AF_INET6});
      } catch (const std::system_error& e) {
        return e.code() == std::errc::address_family_not_supported ? 0 : 3;
      }
      return 4;
    }));
  }
#endif

  TEST_CASE("netutil.bind_unix_socket: listens, for its user only unless told otherwise") {
    TemporaryDirectory directory;
    const std::string file = directory.file("socket");
    {
      const WithUmask umask(0);
      Socket listener = bind_unix_socket(file);
      CHECK(mode_of(file) == 0600);
      CHECK(is_non_blocking(listener));
      CHECK(is_close_on_exec(listener));
      CHECK(listener.local_address() == Address::unix_path(file));
      const Socket client = connect_client(listener);
      CHECK(listener.accept());
    }
    const WithUmask umask(077);
    const Socket listener = bind_unix_socket(file, 0666);
    CHECK(mode_of(file) == 0666);
  }

#ifdef __linux__
  TEST_CASE("netutil.bind_unix_socket: the file never has more permissions than asked for") {
    TemporaryDirectory directory;
    const std::string file = directory.file("socket");
    const WithUmask umask(0);
    std::atomic<bool> stop = false;
    std::atomic<bool> seen = false;
    std::thread watcher([&] {
      struct stat status {};
      while (!stop) {
        if (::stat(file.c_str(), &status) == 0 && (status.st_mode & 0077U) != 0) seen = true;
      }
    });
    for (int i = 0; i < 2000; ++i) bind_unix_socket(file);
    stop = true;
    watcher.join();
    CHECK_FALSE(seen);
  }
#endif

  TEST_CASE("netutil.bind_unix_socket: a stale socket makes way") {
    TemporaryDirectory directory;
    const std::string file = directory.file("socket");
    bind_unix_socket(file);
    REQUIRE(mode_of(file) == 0600);  // left behind
    Socket listener = bind_unix_socket(file);
    const Socket client = connect_client(listener);
    CHECK(listener.accept());
  }

  TEST_CASE("netutil.bind_unix_socket: a socket that a server listens on is an error") {
    TemporaryDirectory directory;
    const std::string file = directory.file("socket");
    Socket listener = bind_unix_socket(file, 0600, 0);
    const Socket client = connect_client(listener);
    CHECK(begin_connect(Socket::unix_stream(), listener.local_address()) ==
          EAGAIN);  // backlog full
    for (int i = 0; i < 2; ++i) {
      try {
        bind_unix_socket(file);
        FAIL("bound twice");
      } catch (const std::system_error& e) {
        CHECK(e.code() == std::error_code(EADDRINUSE, std::system_category()));
        CHECK(std::string(e.what()).starts_with("bind to unix:" + file + ": "));
      }
      while (listener.accept()) {
      }
    }
    const Socket later = connect_client(listener);
    CHECK(listener.accept());
  }

  TEST_CASE("netutil.bind_unix_socket: no other file is touched") {
    TemporaryDirectory directory;
    const std::string file = directory.file("file");
    const std::string link = directory.file("link");
    std::ofstream(file) << "precious";
    REQUIRE(::symlink(file.c_str(), link.c_str()) == 0);
    const unsigned mode = mode_of(file);
    for (const auto& name : {file, link}) {
      try {
        bind_unix_socket(name, 0777);
        FAIL("bound");
      } catch (const std::system_error& e) {
        CHECK(e.code() == std::error_code(EEXIST, std::system_category()));
        CHECK(std::string(e.what()).starts_with("bind to unix:" + name +
                                                ", which is not a socket: "));
      }
    }
    std::string content;
    std::ifstream(link) >> content;
    CHECK(content == "precious");
    CHECK(mode_of(file) == mode);
  }

  TEST_CASE("netutil.bind_unix_socket: a link is not followed, wherever it leads") {
    TemporaryDirectory directory;
    const std::string file = directory.file("socket");
    const std::string link = directory.file("link");
    const std::string broken_link = directory.file("broken_link");
    bind_unix_socket(file);
    REQUIRE(::symlink(file.c_str(), link.c_str()) == 0);
    REQUIRE(::symlink("nowhere", broken_link.c_str()) == 0);
    for (const auto& name : {link, broken_link}) {
      CHECK_THROWS_WITH_AS(bind_unix_socket(name), Contains("which is not a socket"),
                           std::system_error);
    }
  }

  TEST_CASE("netutil.bind_unix_socket: a directory that is not there is an error that names it") {
    CHECK_THROWS_WITH_AS(bind_unix_socket("/no/such/directory/socket"),
                         Contains("bind to unix:/no/such/directory/socket: "), std::system_error);
    CHECK_THROWS_AS(bind_unix_socket(std::string(200, 'x')), std::invalid_argument);
  }

#ifdef __linux__
  TEST_CASE("netutil.bind_unix_socket: an abstract name has no file and goes with its socket") {
    const std::string name = "\0tornado-test-abstract-"s + std::to_string(::getpid());
    for (int i = 0; i < 2; ++i) {
      Socket listener = bind_unix_socket(name);
      CHECK(listener.local_address().path() == name);
      const Socket client = connect_client(listener);
      CHECK(listener.accept());
      CHECK_THROWS_WITH_AS(bind_unix_socket(name), Contains("bind to unix:@tornado-test-abstract-"),
                           std::system_error);
    }
  }
#endif

  // Python: netutil_test.IsValidIPTest.test_is_valid_ip
  TEST_CASE("netutil.is_valid_ip: addresses, and nothing else") {
    CHECK(is_valid_ip("127.0.0.1"));
    CHECK(is_valid_ip("4.4.4.4"));
    CHECK(is_valid_ip("::1"));
    CHECK(is_valid_ip("2620:0:1cfe:face:b00c::3"));
    CHECK_FALSE(is_valid_ip("www.google.com"));
    CHECK_FALSE(is_valid_ip("localhost"));
    CHECK_FALSE(is_valid_ip("4.4.4.4<"));
    CHECK_FALSE(is_valid_ip(" 127.0.0.1"));
    CHECK_FALSE(is_valid_ip(""));
    CHECK_FALSE(is_valid_ip(" "));
    CHECK_FALSE(is_valid_ip("\n"));
    CHECK_FALSE(is_valid_ip("\0"sv));
    CHECK_FALSE(is_valid_ip(std::string(100, 'a')));
  }

  TEST_CASE("netutil.is_valid_ip: a NUL byte or any length is no address either") {
    CHECK_FALSE(is_valid_ip("127.0.0.1\0"sv));
    CHECK_FALSE(is_valid_ip("127.0.0.1\0.example.com"sv));
    CHECK_FALSE(is_valid_ip("127.0.0.1 "));
    CHECK_FALSE(is_valid_ip("[::1]"));
    CHECK_FALSE(is_valid_ip("127.0.0.1:80"));
    CHECK_FALSE(is_valid_ip(std::string(10'000'000, '1')));
    CHECK(is_valid_ip("0:0:0:0:0:ffff:255.255.255.255"));
    CHECK(is_valid_ip("0000:0000:0000:0000:0000:ffff:255.255.255.255"));
  }

  TEST_CASE("netutil.resolver_category: says what getaddrinfo's codes mean") {
    CHECK(std::string(netutil::resolver_category().name()) == "tornado.resolver");
    CHECK(netutil::resolver_category().message(EAI_NONAME) == ::gai_strerror(EAI_NONAME));
  }
}
