// SPDX-License-Identifier: Apache-2.0
//
// netutil: Socket.
#include "socket_support.hpp"
#include "tornado/netutil.hpp"

#include <cerrno>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::string_literals;
using namespace std::chrono_literals;
using doctest::Contains;
using namespace tornado;
using netutil::bind_unix_socket;
using test::begin_connect;
using test::connect_client;
using test::is_close_on_exec;
using test::is_non_blocking;
using test::wait_for_events;
using test::WithDescriptorLimit;

namespace {

bool is_open_descriptor(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

static_assert(std::is_nothrow_move_constructible_v<Socket> &&
              !std::is_copy_constructible_v<Socket>);

}  // namespace

TEST_SUITE("netutil") {
  TEST_CASE("Socket: new and adopted ones are non-blocking and close-on-exec") {
    const Socket adopted(::socket(AF_INET, SOCK_STREAM, 0));
    const Socket tcp = Socket::tcp(AF_INET);
    const Socket local = Socket::unix_stream();
    for (const Socket* socket : {&adopted, &tcp, &local}) {
      CHECK(socket->is_open());
      CHECK(is_non_blocking(*socket));
      CHECK(is_close_on_exec(*socket));
    }
    CHECK(tcp.getsockopt(SOL_SOCKET, SO_TYPE) == SOCK_STREAM);
    CHECK(tcp.getsockopt(SOL_SOCKET, SO_DOMAIN) == AF_INET);
    CHECK(local.getsockopt(SOL_SOCKET, SO_DOMAIN) == AF_UNIX);
  }

  TEST_CASE("Socket: adopting a descriptor that is not open is an error that names it") {
    CHECK_THROWS_WITH_AS(Socket(123456), Contains("descriptor 123456"), std::system_error);
  }

  TEST_CASE("Socket.tcp: a family that does not exist is an error") {
    CHECK_THROWS_WITH_AS(Socket::tcp(AF_MAX + 1), Contains("create a TCP socket"),
                         std::system_error);
  }

  TEST_CASE("Socket: closes its descriptor once, and only its own") {
    Socket a = Socket::tcp(AF_INET);
    const int fd = a.native_handle();
    Socket b = std::move(a);
    CHECK_FALSE(a.is_open());  // NOLINT(bugprone-use-after-move)
    CHECK(b.native_handle() == fd);
    b = Socket::tcp(AF_INET);
    CHECK_FALSE(is_open_descriptor(fd));
    const int released = b.release();
    CHECK_FALSE(b.is_open());
    CHECK(b.native_handle() == Socket::invalid_handle);
    b.close();
    CHECK(is_open_descriptor(released));
    { const Socket c(released); }
    CHECK_FALSE(is_open_descriptor(released));

    Socket d = Socket::tcp(AF_INET);
    Socket& same = d;
    d = std::move(same);
    CHECK(d.is_open());
    d.close();
    const Socket stranger = Socket::tcp(AF_INET);  // gets the number
    d.close();
    CHECK(is_open_descriptor(stranger.native_handle()));
  }

  TEST_CASE("Socket: errors name what was asked, in the system category") {
    const auto [taken, port] = test::bind_unused_port();
    Socket socket = Socket::tcp(AF_INET);
    try {
      socket.bind(Address("127.0.0.1", port));
      FAIL("bound twice");
    } catch (const std::system_error& e) {
      CHECK(e.code() == std::error_code(EADDRINUSE, std::system_category()));
      CHECK(std::string(e.what()).starts_with("bind to 127.0.0.1:" + std::to_string(port) + ": "));
    }
    CHECK_THROWS_WITH_AS(socket.remote_address(), Contains("get the remote address of socket"),
                         std::system_error);
    Socket local = Socket::unix_stream();
    CHECK_THROWS_WITH_AS(local.listen(), Contains("listen on unix:"), std::system_error);
    CHECK_THROWS_WITH_AS(local.set_nodelay(true), Contains("set TCP_NODELAY of socket"),
                         std::system_error);
    CHECK_THROWS_WITH_AS(local.getsockopt(IPPROTO_TCP, 12345),
                         Contains("get option 12345 of level 6"), std::system_error);
  }

  TEST_CASE("Socket: a closed one says so") {
    const auto bad_descriptor = [](auto call) {
      Socket closed;
      try {
        call(closed);
      } catch (const std::system_error& e) {
        return e.code() == std::errc::bad_file_descriptor;
      }
      return false;
    };
    CHECK(bad_descriptor([](Socket& socket) { socket.bind(Address("127.0.0.1", 0)); }));
    CHECK(bad_descriptor([](Socket& socket) { socket.listen(); }));
    CHECK(bad_descriptor([](Socket& socket) { socket.accept(); }));
    CHECK(bad_descriptor([](Socket& socket) { socket.local_address(); }));
    CHECK(bad_descriptor([](Socket& socket) { socket.set_reuse_port(true); }));
    CHECK(bad_descriptor([](Socket& socket) { socket.set_keepalive(true); }));
    CHECK(bad_descriptor([](Socket& socket) { socket.keepalive(); }));
    CHECK(bad_descriptor([](Socket& socket) { socket.error(); }));
  }

  TEST_CASE("Socket.accept: none waiting, then one after the other") {
    auto [listener, port] = test::bind_unused_port();
    CHECK_FALSE(listener.accept());
    const Socket client = connect_client(listener);
    auto accepted = listener.accept();
    REQUIRE(accepted);
    const auto& [connection, address] = *accepted;
    CHECK(is_non_blocking(connection));
    CHECK(is_close_on_exec(connection));
    CHECK(address == client.local_address());
    CHECK(address == connection.remote_address());
    CHECK(connection.local_address() == Address("127.0.0.1", port));
    CHECK(client.remote_address() == Address("127.0.0.1", port));
    CHECK_FALSE(listener.accept());
  }

  TEST_CASE("Socket.accept: too many open files is an error, and the connection goes on waiting") {
    auto [listener, port] = test::bind_unused_port();
    const Socket client = connect_client(listener);
    // UndefinedBehaviorSanitizer needs descriptors to look into what it has not seen yet: so each
    // error's class is thrown once before, and looked at later.
    CHECK_THROWS_AS(Socket::tcp(-1), std::system_error);
    std::exception_ptr at_socket;
    std::exception_ptr at_accept;
    {
      const WithDescriptorLimit limit(100);
      std::vector<Socket> all;
      try {
        for (;;) all.push_back(Socket::tcp(AF_INET));
      } catch (...) {
        at_socket = std::current_exception();
      }
      try {
        listener.accept();
      } catch (...) {
        at_accept = std::current_exception();
      }
    }
    CHECK_THROWS_AS(std::rethrow_exception(at_socket), std::system_error);
    REQUIRE(at_accept);
    CHECK_THROWS_WITH_AS(std::rethrow_exception(at_accept), Contains("accept on socket"),
                         std::system_error);
    CHECK(listener.accept());
  }

  TEST_CASE("Socket: a Unix client has no name") {
    Socket listener = bind_unix_socket("\0tornado-test-"s + std::to_string(::getpid()));
    const Socket client = connect_client(listener);
    const auto accepted = listener.accept();
    REQUIRE(accepted);
    CHECK(accepted->second.family() == AF_UNIX);
    CHECK(accepted->second.path().empty());
    CHECK(accepted->second.str() == "unix:");
    CHECK(client.remote_address() == listener.local_address());
  }

  TEST_CASE("Socket: options are off or at the default, and can be set") {
    Socket socket = Socket::tcp(AF_INET);
    CHECK_FALSE(socket.reuse_address());
    CHECK_FALSE(socket.reuse_port());
    CHECK_FALSE(socket.nodelay());
    CHECK_FALSE(socket.keepalive());
    CHECK_FALSE(socket.linger());
    for (const bool on : {true, false}) {
      socket.set_reuse_address(on);
      CHECK(socket.reuse_address() == on);
      socket.set_reuse_port(on);
      CHECK(socket.reuse_port() == on);
      socket.set_nodelay(on);
      CHECK(socket.nodelay() == on);
      socket.set_keepalive(on);
      CHECK(socket.keepalive() == on);
    }
    socket.set_linger(7s);
    CHECK(socket.linger() == 7s);
    socket.set_linger(0s);
    CHECK(socket.linger() == 0s);
    socket.set_linger(std::nullopt);
    CHECK_FALSE(socket.linger());
    socket.set_send_buffer_size(20000);
    CHECK(socket.send_buffer_size() >= 20000);
    CHECK(socket.send_buffer_size() <= 40000);
    socket.set_receive_buffer_size(30000);
    CHECK(socket.receive_buffer_size() >= 30000);
    CHECK(socket.receive_buffer_size() <= 60000);
    socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
    CHECK(socket.keepalive());
  }

  TEST_CASE("Socket.error: why the connect failed, once") {
    Address nobody_listens;
    {
      const auto [socket, port] = test::bind_unused_port();
      nobody_listens = socket.local_address();
    }
    Socket socket = Socket::tcp(AF_INET);
    CHECK_FALSE(socket.error());
    if (begin_connect(socket, nobody_listens) == EINPROGRESS) {
      wait_for_events(socket.native_handle(), POLLOUT);
      CHECK(socket.error() == std::error_code(ECONNREFUSED, std::system_category()));
    }
    CHECK_FALSE(socket.error());
  }
}
