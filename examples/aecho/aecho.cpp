// SPDX-License-Identifier: Apache-2.0
//
// Sends everything back to where it came from, on bare add_handler callbacks: without coroutines
// and streams each connection is a machine of states, which has to remember by itself where it was.
#include "../arguments.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <sys/socket.h>

using namespace tornado;

// Reads until something has come, then writes until all of that has gone. Never both: while a
// client does not read, nothing more is taken from it.
class Connection {
 public:
  Connection(Socket socket, std::function<void()> on_end)
      : socket_(std::move(socket)), on_end_(std::move(on_end)) {
    IOLoop::current().add_handler(
        socket_, [this](Socket&, int events) { on_event(events); }, IOLoop::READ);
  }
  ~Connection() { IOLoop::current().remove_handler(socket_); }

 private:
  enum class State { reading, writing, ended };

  void on_event(int events) {
    if ((events & IOLoop::READ) != 0 && state_ == State::reading) read();
    // Not for the event to come: most often there is room at once.
    if (state_ == State::writing) write();
    // An error without anything to read, or to write, has no other way to be told.
    if ((events & (IOLoop::READ | IOLoop::WRITE)) == 0) state_ = State::ended;
    if (state_ == State::ended) {
      const auto tell = std::move(on_end_);
      tell();  // destroys this
    }
  }

  void read() {
    char buffer[4096];
    const ssize_t size = ::recv(socket_.native_handle(), buffer, sizeof buffer, 0);
    if (size > 0) {
      unsent_.assign(buffer, static_cast<std::size_t>(size));
      state_ = State::writing;
    } else if (size == 0 || !again()) {
      state_ = State::ended;
    }
  }

  void write() {
    while (!unsent_.empty()) {
      const ssize_t size =
          ::send(socket_.native_handle(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
      if (size < 0) {
        if (!again()) state_ = State::ended;
        wait_for(IOLoop::WRITE);
        return;
      }
      unsent_.erase(0, static_cast<std::size_t>(size));
    }
    state_ = State::reading;
    wait_for(IOLoop::READ);
  }

  static bool again() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

  void wait_for(int events) {
    if (std::exchange(waiting_for_, events) != events) {
      IOLoop::current().update_handler(socket_, events);
    }
  }

  Socket socket_;
  std::function<void()> on_end_;
  std::string unsent_;
  State state_ = State::reading;
  int waiting_for_ = IOLoop::READ;
};

class Server {
 public:
  explicit Server(Socket socket) : socket_(std::move(socket)) {
    IOLoop::current().add_handler(
        socket_, [this](Socket&, int) { accept(); }, IOLoop::READ);
  }
  ~Server() { IOLoop::current().remove_handler(socket_); }

 private:
  void accept() {
    while (auto accepted = socket_.accept()) {
      const int number = ++count_;
      connections_.emplace(
          number, std::make_unique<Connection>(std::move(accepted->first),
                                               [this, number] { connections_.erase(number); }));
    }
  }

  Socket socket_;
  std::map<int, std::unique_ptr<Connection>> connections_;
  int count_ = 0;
};

int main(int argc, char** argv) {
  try {
    Arguments arguments(argc, argv);
    const auto port = arguments.number<std::uint16_t>("--port", 8888, 0, 65535);
    arguments.done();

    IOLoop& io_loop = IOLoop::current();
    auto sockets = netutil::bind_sockets(port, "127.0.0.1", {.family = AF_INET});
    fmt::print("Listening on {}\n", sockets.front().local_address().str());
    std::fflush(stdout);
    const Server server(std::move(sockets.front()));
    for (const int signo : {SIGINT, SIGTERM}) {
      io_loop.add_signal_handler(signo, [&io_loop] { io_loop.stop(); });
    }
    io_loop.start();
    fmt::print("Stopped\n");
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "aecho: {}\n", error.what());
    return 1;
  }
}
