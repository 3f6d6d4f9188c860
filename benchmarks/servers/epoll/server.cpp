// SPDX-License-Identifier: Apache-2.0
//
// By hand: level-triggered epoll, one buffer for all connections, what the system does not take at
// once kept until it does. --variant batched answers all lines of a read by one write. --loops N:
// so many threads, each with a set and a listening socket of its own.
#include "../options.hpp"

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

struct Connection {
  int fd;
  std::string unsent;
  std::string part = {};  // of a line
};

int check(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::system_category(), what);
  return result;
}

class Server {
 public:
  explicit Server(const Options& options)
      : lines_(options.lines), batched_(options.variant == "batched") {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(options.port);
    const int on = 1;
    listener_ = check(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    check(::setsockopt(listener_, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), "SO_REUSEPORT");
    check(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
    check(::listen(listener_, 1024), "listen");
    watch(EPOLL_CTL_ADD, listener_, EPOLLIN, nullptr);
  }

  std::uint16_t port() const {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    check(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
    return ntohs(address.sin_port);
  }

  void run() {
    std::vector<epoll_event> events(256);
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        auto* connection = static_cast<Connection*>(event.data.ptr);
        if (connection == nullptr) {
          accept();
        } else if ((event.events & EPOLLOUT) != 0 ? !send_rest(*connection) : !echo(*connection)) {
          ::close(connection->fd);
          delete connection;
        }
      }
    }
  }

 private:
  void watch(int what, int fd, std::uint32_t events, Connection* connection) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = connection;
    check(::epoll_ctl(epoll_, what, fd, &event), "epoll_ctl");
  }

  void accept() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
      if (fd < 0) return;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      watch(EPOLL_CTL_ADD, fd, EPOLLIN, new Connection{fd, {}});
    }
  }

  bool echo(Connection& connection) {
    const ssize_t count = ::recv(connection.fd, buffer_.get(), size, 0);
    if (count <= 0) return count < 0 && errno == EAGAIN;
    std::string_view data(buffer_.get(), static_cast<std::size_t>(count));
    if (!lines_) return send(connection, data);
    if (batched_) return send(connection, take(connection, data, data.rfind('\n')));
    for (auto end = data.find('\n'); end != data.npos; end = data.find('\n')) {
      if (!send(connection, take(connection, data, end))) return false;
    }
    connection.part += data;
    return true;
  }

  /// What there was before of a line, and `data` up to and including `end`, which is removed.
  std::string_view take(Connection& connection, std::string_view& data, std::size_t end) {
    std::string_view result = data.substr(0, end + 1);
    data.remove_prefix(result.size());
    if (!connection.part.empty()) {
      whole_ = std::exchange(connection.part, {}).append(result);
      result = whole_;
    }
    if (batched_) connection.part = data;
    return result;
  }

  bool send(Connection& connection, std::string_view data) {
    if (connection.unsent.empty()) {
      const ssize_t sent = ::send(connection.fd, data.data(), data.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent > 0) data.remove_prefix(static_cast<std::size_t>(sent));
      if (data.empty()) return true;
      watch(EPOLL_CTL_MOD, connection.fd, EPOLLOUT, &connection);
    }
    connection.unsent += data;
    return true;
  }

  bool send_rest(Connection& connection) {
    const std::string& data = connection.unsent;
    const ssize_t sent = ::send(connection.fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    connection.unsent.erase(0, static_cast<std::size_t>(sent));
    if (data.empty()) watch(EPOLL_CTL_MOD, connection.fd, EPOLLIN, &connection);
    return true;
  }

  static constexpr std::size_t size = 65536;

  const bool lines_;
  const bool batched_;
  int epoll_ = check(::epoll_create1(0), "epoll_create1");
  int listener_;
  std::unique_ptr<char[]> buffer_{new char[size]};
  std::string whole_;  // a line that came in parts
};

}  // namespace

int main(int argc, char** argv) {
  Options options = Options::parse(argc, argv);
  Server server(options);
  options.port = server.port();
  std::vector<std::jthread> others;
  for (int i = 1; i < options.loops; ++i) {
    others.emplace_back([&options] { Server(options).run(); });
  }
  say_listening(options.port);
  server.run();
}
