// SPDX-License-Identifier: Apache-2.0
//
// Where the memory of an idle connection goes: what an echo server of this library keeps for one
// that was used once and waits, step by step. The pieces are those of operator new, by the size
// that was asked for; the bytes are malloc's, with what it adds, and with what Asio takes from
// malloc itself. (The pages of a whole process: the workload idle.)
#include "../src/socket_backend.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>
#include <sys/socket.h>

using namespace tornado;

namespace {

constexpr int connections = 200;

using Pieces = std::array<long, 8192>;  // how many, by size

/// Of all connections.
struct Memory {
  Pieces pieces{};
  long bytes = 0;
};

thread_local bool counting = false;
Pieces live{};

void count(std::size_t size, long by) {
  if (counting && size < live.size()) live[size] += by;
}

}  // namespace

// The size asked for is kept in front, for the delete that is not told.
constexpr std::size_t front = alignof(std::max_align_t);

void* operator new(std::size_t size) {
  char* memory = static_cast<char*>(std::malloc(front + size));
  if (memory == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(memory) = size;
  count(size, 1);
  return memory + front;
}
void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  char* begin = static_cast<char*>(memory) - front;
  count(*reinterpret_cast<std::size_t*>(begin), -1);
  std::free(begin);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace {

Future<void> echo(IOStream stream) {
  try {
    for (;;) {
      std::string data = co_await stream.read_bytes(65536, Partial::yes);
      stream.write(std::move(data));
    }
  } catch (const StreamClosedError&) {
  }
}

class EchoServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override { return echo(std::move(stream)); }
};

void exchange_message(int fd) {
  char message[64] = {};
  if (::send(fd, message, sizeof message, 0) != sizeof message ||
      ::recv(fd, message, sizeof message, MSG_WAITALL) != sizeof message) {
    throw std::runtime_error("no echo");
  }
}

/// What f() allocates and keeps; the pieces, on this thread.
template <class F>
Memory kept_by(F f) {
  live = {};
  const auto before = ::mallinfo2().uordblks;
  counting = true;
  f();
  counting = false;
  Memory memory{live, static_cast<long>(::mallinfo2().uordblks - before)};
  for (const long count : live) memory.bytes -= count * static_cast<long>(front);
  return memory;
}

/// Runs the loop until `f`, on a thread of its own, has returned.
template <class F>
void run_beside(F f) {
  IOLoop& loop = IOLoop::current();
  const std::jthread other([&] {
    f();
    loop.add_callback([&loop] { loop.stop(); });
  });
  loop.start();
}

void print(std::string_view what, const Memory& memory) {
  std::string sizes;
  for (std::size_t size = 0; size < memory.pieces.size(); ++size) {
    const long each = (memory.pieces[size] + connections / 2) / connections;
    for (long i = 0; i < each; ++i) sizes += fmt::format("{}{}", sizes.empty() ? "" : " + ", size);
  }
  fmt::print("{:<56}  {:>24}  {:>6}\n", what, sizes.empty() ? "-" : sizes,
             memory.bytes / connections);
}

/// What a server keeps for connections that have sent a message.
Memory kept_by_server() {
  EchoServer server;
  server.listen(0, "127.0.0.1");
  const Address address = server.addresses().front();
  std::vector<int> clients;
  return kept_by([&] {
    run_beside([&] {
      for (int i = 0; i < connections; ++i) {
        clients.push_back(::socket(AF_INET, SOCK_STREAM, 0));
        if (::connect(clients.back(), static_cast<const sockaddr*>(address.data()),
                      static_cast<socklen_t>(address.size())) != 0) {
          throw std::runtime_error("connect");
        }
        exchange_message(clients.back());
      }
    });
  });
}

}  // namespace

int main() {
  std::vector<Socket> sockets;
  std::vector<int> clients;
  for (int i = 0; i < connections; ++i) {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) throw std::runtime_error("socketpair");
    sockets.emplace_back(fds[0]);
    clients.push_back(fds[1]);
  }
  std::vector<std::unique_ptr<StreamBackend>> backends;
  std::vector<IOStream> streams;
  backends.reserve(connections);
  streams.reserve(connections);
  {  // What a loop takes itself.
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) throw std::runtime_error("socketpair");
    echo(IOStream(Socket(fds[0])));
    run_beside([&] { exchange_message(fds[1]); });
  }

  fmt::print("{:<56}  {:>24}  {:>6}\n", "of each connection", "pieces", "bytes");
  const Memory backend = kept_by([&] {
    for (Socket& socket : sockets) {
      backends.push_back(detail::make_socket_backend(std::move(socket)));
    }
  });
  const Memory stream = kept_by([&] {
    for (auto& each : backends) streams.emplace_back(std::move(each));
  });
  const Memory coroutine = kept_by([&] {
    for (IOStream& each : streams) echo(std::move(each));
  });
  const Memory buffers = kept_by([&] {
    run_beside([&] {
      for (const int fd : clients) exchange_message(fd);
    });
  });
  print("SocketBackend, its wait; what Asio has for a descriptor", backend);
  print("StreamCore", stream);
  print("a coroutine that reads: the read's Future; the frame", coroutine);
  print("what is kept of a message: buffers", buffers);

  Memory rest = kept_by_server();
  const long all = rest.bytes;
  for (const Memory& step : {backend, stream, coroutine, buffers}) {
    for (std::size_t i = 0; i < live.size(); ++i) rest.pieces[i] -= step.pieces[i];
    rest.bytes -= step.bytes;
  }
  print("what TCPServer has for a connection", rest);
  print("together", Memory{{}, all});
  std::fflush(stdout);
  std::_Exit(0);  // the connections need no farewell
}
