// SPDX-License-Identifier: Apache-2.0
//
// Where the memory of an idle connection goes: what an echo server of this library holds for each
// of 1,000 that were used once and wait, by the size of the pieces, and what has that size. (What
// the pages of a whole process say is in the workload idle.)
#include "../src/stream_core.hpp"
#include "table.hpp"
#include <tornado/tornado.hpp>

#include <asio/detail/epoll_reactor.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/socket.h>

using namespace tornado;

namespace {

constexpr int connections = 1000;

thread_local bool counting = false;  // on the loop's thread
long live[8192];                     // pieces by size

void count(std::size_t size, long by) {
  if (counting && size < std::size(live)) live[size] += by;
}

}  // namespace

// The size asked for is kept in front, so that a delete without one can be counted, too.
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

class EchoServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    for (;;) {
      std::string data = co_await stream.read_bytes(65536, Partial::yes);
      stream.write(std::move(data));
    }
  }
};

/// Connects, sends and gets back a message by each, and leaves them open.
std::vector<Socket> use_once(const Address& address) {
  std::vector<Socket> all;
  char message[64] = {};
  for (int i = 0; i < connections; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(fd, static_cast<const sockaddr*>(address.data()),
                  static_cast<socklen_t>(address.size())) != 0 ||
        ::send(fd, message, sizeof message, 0) != sizeof message ||
        ::recv(fd, message, sizeof message, MSG_WAITALL) != sizeof message) {
      throw std::runtime_error("the connections do not work");
    }
    all.emplace_back(fd);
  }
  return all;
}

const char* what_has(std::size_t size) {
  if (size == sizeof(detail::StreamCore)) return "StreamCore";
  if (size == sizeof(asio::detail::epoll_reactor::descriptor_state)) return "Asio: of a descriptor";
  return "";
}

}  // namespace

int main() {
  EchoServer server;
  server.listen(0, "127.0.0.1");
  const Address address = server.addresses().front();
  IOLoop& loop = IOLoop::current();
  std::vector<Socket> clients;
  std::jthread other([&] {
    clients = use_once(address);
    loop.add_callback([&loop] { loop.stop(); });
  });
  counting = true;
  loop.start();
  counting = false;

  fmt::print("{:<40}  {:>10}  {:>10}\n", "bytes of a piece", "pieces", "bytes");
  double sum = 0;
  for (std::size_t size = 0; size < std::size(live); ++size) {
    const double each = static_cast<double>(live[size]) / connections;
    if (each < 0.5) continue;
    sum += each * static_cast<double>(size);
    fmt::print("{:<40}  {:>10.1f}  {:>10.0f}\n", fmt::format("{} {}", size, what_has(size)), each,
               each * static_cast<double>(size));
  }
  fmt::print("{:<40}  {:>10}  {:>10.0f}\n", "together", "", sum);
}
