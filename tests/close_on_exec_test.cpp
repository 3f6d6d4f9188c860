// SPDX-License-Identifier: Apache-2.0
//
// What a child process finds open that the program starts: nothing of ours.
#include "server_support.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/netutil.hpp"
#include "tornado/tcpclient.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

using namespace tornado;
using test::result;

namespace {

/// The descriptors that a child finds open beside its standard ones, and what they are.
std::string inherited() {
  std::FILE* listing = ::popen("ls -l /proc/self/fd", "r");
  REQUIRE(listing != nullptr);
  std::string found;
  char line[512];
  while (std::fgets(line, sizeof line, listing) != nullptr) {
    const std::string text(line);
    const std::size_t arrow = text.find(" -> ");
    // Not the folder that ls reads.
    if (arrow == text.npos || text.find("/proc/", arrow) != text.npos) continue;
    const std::size_t begin = text.rfind(' ', arrow - 1) + 1;
    if (std::stoi(text.substr(begin, arrow - begin)) > 2) found += text.substr(begin);
  }
  CHECK(::pclose(listing) == 0);
  return found;
}

/// Keeps from children what the program itself has inherited.
void close_all_on_exec() {
  for (int fd = 3; fd < 256; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags != -1) ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
  }
}

}  // namespace

TEST_SUITE("iostream") {
  TEST_CASE("inherited: is what has no close-on-exec") {
    close_all_on_exec();
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    CHECK(inherited().find(std::to_string(ends[0]) + " -> pipe:") != std::string::npos);
    ::close(ends[0]);
    ::close(ends[1]);
    CHECK(inherited().empty());
  }

  TEST_CASE(
      "IOLoop, IOStream, TCPServer: a child process inherits none of their descriptors (S36)") {
    close_all_on_exec();
    test::Loop loop;
    const Timeout timeout = loop.call_later(std::chrono::hours(1), [] {});
    loop.add_signal_handler(SIGUSR1, [] {});
    CHECK(result(loop, loop.run_in_executor(nullptr, [] { return 1; })) == 1);

    std::vector<IOStream> streams;
    const auto keep = [&](IOStream stream, Address) -> Future<void> {
      streams.push_back(std::move(stream));
      co_return;
    };
    test::Server server(keep);
    server.listen(0, "127.0.0.1");
    auto [listener, address] = test::listen(test::Transport::local);
    const auto stop_accepting = netutil::add_accept_handler(
        listener, [&](Socket socket, Address) { streams.emplace_back(std::move(socket)); });
    for (const Address& to : {server.address(), address}) {
      streams.push_back(test::connect_to(loop, to));
    }
    TCPClient client;
    streams.push_back(result(loop, client.connect("localhost", server.address().port())));
    const auto [a, b] = test::make_iostream_pair(test::Transport::local);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const PipeIOStream reader(ends[0]);
    const PipeIOStream writer(ends[1]);
    test::wait_until(loop, [&] { return streams.size() == 6; });

    // A file that is being sent, a read that waits, and a handler of another descriptor.
    const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    a.write(std::string(1 << 22, 'x'));
    const auto sent = a.write_file(file);
    const auto read = reader.read_bytes(1);
    const int event = ::eventfd(0, EFD_CLOEXEC);
    loop.add_handler(
        event, [](native_handle_type, int) {}, IOLoop::READ);
    loop.iterate(3);

    CHECK(test::open_descriptors() > 15);
    CHECK(inherited() == "");
    stop_accepting();
    loop.remove_timeout(timeout);
    loop.remove_handler(event);
    ::close(event);
    ::close(file);
  }
}
