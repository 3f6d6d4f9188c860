// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

template <class T>
T check(T result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::system_category(), what);
  return result;
}

sockaddr_in loopback(std::uint32_t host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host);
  return address;
}

void set(int fd, int level, int option) {
  const int on = 1;
  check(::setsockopt(fd, level, option, &on, sizeof on), "setsockopt");
}

}  // namespace

const Pattern Connection::pattern;

Connection::Connection(std::uint16_t port, std::size_t number) : number_(number) {
  static std::uint32_t host = 0;
  host = host % 200 + 1;
  fd_ = check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  set(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
  set(fd_, IPPROTO_TCP, TCP_NODELAY);
  const sockaddr_in from = loopback(host, 0);
  check(::bind(fd_, reinterpret_cast<const sockaddr*>(&from), sizeof from), "bind");
  const sockaddr_in to = loopback(0, port);
  check(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), "connect");
}

Connection::Connection(Connection&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      number_(other.number_),
      sent_(other.sent_),
      received_(other.received_) {}

Connection& Connection::operator=(Connection&& other) noexcept {
  close();
  fd_ = std::exchange(other.fd_, -1);
  number_ = other.number_;
  sent_ = other.sent_;
  received_ = other.received_;
  return *this;
}

void Connection::close() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void Connection::send(std::size_t size) {
  const std::uint64_t before = sent_;
  send_some(size);
  if (sent_ - before != size) throw std::runtime_error("not all was sent at once");
}

void Connection::send_some(std::size_t size) {
  const std::string_view bytes = pattern.at(number_, sent_, size);
  const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return;
  sent_ += static_cast<std::uint64_t>(check(count, "send"));
}

std::size_t Connection::receive() {
  static char buffer[Pattern::largest];
  const auto count = static_cast<std::size_t>(check(::recv(fd_, buffer, sizeof buffer, 0), "recv"));
  if (count == 0) throw std::runtime_error("the server has closed a connection");
  if (count > awaited() ||
      std::string_view(buffer, count) != pattern.at(number_, received_, count)) {
    throw std::runtime_error(
        fmt::format("what came back is wrong, in the {} bytes from {} on", count, received_));
  }
  received_ += count;
  return count;
}

Poll::Poll() : epoll_(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")), events_(1024) {}
Poll::~Poll() { ::close(epoll_); }

void Poll::add(Connection& connection, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &connection;
  check(::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd(), &event), "epoll_ctl");
}

void Poll::change(Connection& connection, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &connection;
  check(::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd(), &event), "epoll_ctl");
}

int Poll::wait_for_events() {
  return check(::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), 100),
               "epoll_wait");
}
