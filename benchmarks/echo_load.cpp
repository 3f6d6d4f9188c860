// SPDX-License-Identifier: Apache-2.0
//
// Loads a server that echoes lines: one thread on epoll, without any library, that checks every
// byte.
//
//     echo_load PORT CONNECTIONS MESSAGES SIZE
//
// Each connection sends a line of SIZE bytes, waits for the same line, and sends the next, until
// MESSAGES of them have come back to all connections together. Prints how many per second that
// were.
#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

struct Connection {
  int fd = -1;
  std::size_t got = 0;  // of the answer
};

int check(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::system_category(), what);
  return result;
}

int connect_to(std::uint16_t port) {
  const int fd = check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

void send_line(const Connection& connection, const std::string& line) {
  const ssize_t sent = ::send(connection.fd, line.data(), line.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(line.size())) throw std::runtime_error("send: not all at once");
}

/// True when the answer is complete.
bool receive(Connection& connection, const std::string& line, std::vector<char>& buffer) {
  const ssize_t count =
      check(static_cast<int>(::recv(connection.fd, buffer.data(), buffer.size(), 0)), "recv");
  if (count == 0) throw std::runtime_error("the server has closed a connection");
  const std::string_view bytes(buffer.data(), static_cast<std::size_t>(count));
  if (line.compare(connection.got, bytes.size(), bytes) != 0) {
    throw std::runtime_error("the answer is wrong");
  }
  connection.got += bytes.size();
  if (connection.got < line.size()) return false;
  connection.got = 0;
  return true;
}

void run(std::uint16_t port, std::size_t connections, std::uint64_t messages, std::size_t size) {
  std::string line(size, '.');
  for (std::size_t i = 0; i < size; ++i) line[i] = static_cast<char>('a' + i % 26);
  line.back() = '\n';

  const int epoll = check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  std::vector<Connection> all(connections);
  for (Connection& connection : all) {
    connection.fd = connect_to(port);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &connection;
    check(::epoll_ctl(epoll, EPOLL_CTL_ADD, connection.fd, &event), "epoll_ctl");
  }

  std::vector<char> buffer(65536);
  std::vector<epoll_event> events(1024);
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (const Connection& connection : all) {
    send_line(connection, line);
    ++sent;
  }
  while (answered < sent) {
    const int count = check(::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1),
                            "epoll_wait");
    for (int i = 0; i < count; ++i) {
      auto& connection = *static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (!receive(connection, line, buffer)) continue;
      ++answered;
      if (sent == messages) continue;
      send_line(connection, line);
      ++sent;
    }
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  fmt::print("{:.0f} messages/s\n", static_cast<double>(answered) / time.count());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "Usage: echo_load PORT CONNECTIONS MESSAGES SIZE\n");
    return 2;
  }
  try {
    run(static_cast<std::uint16_t>(std::atoi(argv[1])), std::strtoull(argv[2], nullptr, 10),
        std::strtoull(argv[3], nullptr, 10), std::strtoull(argv[4], nullptr, 10));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "echo_load: {}\n", error.what());
    return 1;
  }
}
