// SPDX-License-Identifier: Apache-2.0
//
// netutil::add_accept_handler, by itself and under TCPServer: when accepting stops, and when it
// fails.
#include "server_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"
#include "tornado/netutil.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::connect_to;
using test::echo;
using test::echoed;
using test::result;
using test::Server;
using test::Transport;
using test::wait_until;

namespace {

// As long as it lives the process can open no descriptor.
class NoDescriptorsLeft {
 public:
  NoDescriptorsLeft() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const int lowest_free = ::dup(STDERR_FILENO);
    ::close(lowest_free);
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(lowest_free);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  }
  ~NoDescriptorsLeft() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptorsLeft(const NoDescriptorsLeft&) = delete;
  NoDescriptorsLeft& operator=(const NoDescriptorsLeft&) = delete;

 private:
  rlimit before_{};
};

// What the accept4 below does.
struct Accepting {
  int calls = 0;
  int error_always = 0;          // errno of every call
  std::vector<int> errors = {};  // of the next calls
};
Accepting accepting;

}  // namespace

// In place of the C library's: for errors that the system does not produce on demand.
extern "C" __attribute__((visibility("default"))) int accept4(int fd, sockaddr* address,
                                                              socklen_t* size, int flags) {
  ++accepting.calls;
  errno = accepting.error_always;
  if (errno == 0 && !accepting.errors.empty()) {
    errno = accepting.errors.front();
    accepting.errors.erase(accepting.errors.begin());
  }
  if (errno != 0) return -1;
  return static_cast<int>(::syscall(SYS_accept4, fd, address, size, flags));
}

TEST_SUITE("netutil") {
  // ---- add_accept_handler

  TEST_CASE("netutil.add_accept_handler: after the remover's call none is accepted (T12)") {
    test::Loop loop;
    auto [listener, address] = test::listen(Transport::local);
    std::vector<Socket> clients;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(Socket::unix_stream());
      CHECK(::connect(clients.back().native_handle(), static_cast<const sockaddr*>(address.data()),
                      static_cast<socklen_t>(address.size())) == 0);
    }
    int calls = 0;
    std::function<void()> remove;
    remove = netutil::add_accept_handler(listener, [&](const Socket& socket, const Address& peer) {
      CHECK(socket.is_open());
      CHECK(peer.family() == AF_UNIX);
      ++calls;
      remove();
    });
    loop.iterate(5);
    CHECK(calls == 1);
    remove();
    loop.iterate(5);
    CHECK(calls == 1);
    // The others still wait, for whoever asks next.
    const auto remove_again =
        netutil::add_accept_handler(listener, [&calls](const Socket&, const Address&) { ++calls; });
    wait_until(loop, [&] { return calls == 3; });
    remove_again();
  }

  TEST_CASE("netutil.add_accept_handler: what its callback throws is logged, and it goes on") {
    test::Loop loop;
    auto [listener, address] = test::listen(Transport::local);
    int calls = 0;
    const auto remove =
        netutil::add_accept_handler(listener, [&calls](const Socket&, const Address&) {
          ++calls;
          throw std::runtime_error("from the callback");
        });
    const test::ExpectLog expected(log::app_log, "from the callback");
    const IOStream first = connect_to(loop, address);
    const IOStream second = connect_to(loop, address);
    wait_until(loop, [&] { return calls == 2; });
    CHECK(expected.count() == 2);
    remove();
  }

  TEST_CASE("TCPServer: many connections at once are taken in portions (T5)") {
    constexpr int count = 300;
    test::Loop loop;
    int accepted = 0;
    Server server([&accepted](IOStream, Address) -> Future<void> {
      ++accepted;
      co_return;
    });
    server.listen(0, "127.0.0.1", {.backlog = 1024});
    const Address address = server.address();
    std::vector<Socket> clients;
    for (int i = 0; i < count; ++i) {
      clients.push_back(Socket::tcp(AF_INET));
      ::connect(clients.back().native_handle(), static_cast<const sockaddr*>(address.data()),
                static_cast<socklen_t>(address.size()));
    }
    for (const Socket& client : clients) test::wait_for_events(client.native_handle(), POLLOUT);
    int most = 0;
    while (accepted < count) {
      const int before = accepted;
      loop.iterate();
      most = std::max(most, accepted - before);
    }
    CHECK(most <= 128);
    CHECK(most > 1);
  }

  // ---- out of descriptors

  TEST_CASE("TCPServer: without descriptors it tries every 100 ms, and logs one line (T6)") {
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
      CAPTURE(error);
      test::Loop loop;
      Server server(echo);
      server.listen(0, "127.0.0.1");
      const IOStream present = connect_to(loop, server.address());
      CHECK(echoed(loop, present, "here") == "here\n");

      const IOStream waiting(Socket::tcp(AF_INET));
      const auto answer = waiting.read_until("\n");
      {
        const test::ExpectLog expected(log::gen_log, std::generic_category().message(error));
        accepting = {.error_always = error};
        const auto begin = std::chrono::steady_clock::now();
        result(loop, waiting.connect(server.address()));  // by the system, on the server's behalf
        waiting.write("hello\n");
        wait_until(loop, [] { return accepting.calls >= 3; });
        CHECK(std::chrono::steady_clock::now() - begin >= 200ms);
        CHECK(expected.count() == 1);
        // Who is connected is served.
        CHECK(echoed(loop, present, "still here") == "still here\n");
        CHECK_FALSE(answer.done());
        accepting = {};
      }
      CHECK(result(loop, answer) == "hello\n");

      // The next time it is logged again.
      const test::ExpectLog expected(log::gen_log, "trying again in 100 ms");
      accepting.errors = {error};
      CHECK(echoed(loop, connect_to(loop, server.address()), "next") == "next\n");
      CHECK(expected.count() == 1);
    }
  }

  // The sanitizers need descriptors of their own.
  TEST_CASE("TCPServer: when the process really has no descriptors left (T6)" *
            doctest::skip(test::sanitized)) {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    const IOStream present = connect_to(loop, server.address());
    CHECK(echoed(loop, present, "here") == "here\n");
    const IOStream waiting(Socket::tcp(AF_INET));
    const auto connected = waiting.connect(server.address());
    const auto answer = waiting.read_until("\n");
    {
      const NoDescriptorsLeft limit;
      const test::ExpectLog expected(log::gen_log, "Too many open files");
      accepting = {};
      result(loop, connected);
      waiting.write("hello\n");
      wait_until(loop, [] { return accepting.calls >= 3; });
      CHECK(expected.count() == 1);
      CHECK(echoed(loop, present, "still here") == "still here\n");
      CHECK_FALSE(answer.done());
    }
    CHECK(result(loop, answer) == "hello\n");
    CHECK(echoed(loop, connect_to(loop, server.address()), "next") == "next\n");
  }

  TEST_CASE("TCPServer: a connection that was aborted while it waited is passed over (T5)") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    accepting = {.errors = {ECONNABORTED, EINTR, EPROTO}};
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
    CHECK(accepting.errors.empty());
  }

  TEST_CASE("TCPServer.stop: while it waits for descriptors") {
    for (const bool close_loop : {false, true}) {
      CAPTURE(close_loop);
      auto loop = std::make_unique<test::Loop>();
      auto server = std::make_unique<Server>(echo);
      server->listen(0, "127.0.0.1");
      const IOStream client(Socket::tcp(AF_INET));
      const auto connected = client.connect(server->address());
      {
        const test::ExpectLog expected(log::gen_log, "Too many open files");
        accepting = {.error_always = EMFILE};
        wait_until(*loop, [&] { return expected.count() == 1; });
        accepting = {};
      }
      if (close_loop) {
        loop.reset();
        server.reset();
      } else {
        server.reset();
        loop->call_later(150ms, [&loop] { loop->stop(); });
        loop->wait();
      }
      CHECK(accepting.calls == 0);
    }
  }
}
