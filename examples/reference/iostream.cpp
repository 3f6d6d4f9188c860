// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/iostream.hpp>; docs/reference/iostream.md quotes them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace tornado;

/// Two streams that are connected with each other.
std::pair<IOStream, IOStream> connected(const IOStreamOptions& options = {}) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw std::runtime_error("socketpair");
  return {IOStream(Socket(ends[0]), options), IOStream(Socket(ends[1]), options)};
}

class Greeter : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    co_await stream.write("hello\n");
  }
};

Future<void> connect() {
  Greeter server;
  server.listen(0, "127.0.0.1");
  IOStream stream(Socket::tcp(AF_INET));
  co_await stream.connect(server.addresses().front());
  const std::string line = co_await stream.read_until("\n");
  fmt::print("{}", line);

  const Address nobody("127.0.0.1", 1);
  IOStream refused(Socket::tcp(AF_INET));
  try {
    co_await refused.connect(nobody);
  } catch (const StreamClosedError& error) {
    fmt::print("{}\n", error.real_error() == std::errc::connection_refused);
  }
}

Future<void> read_bytes() {
  const auto [server, client] = connected();
  client.write("0123456789");
  const std::string four = co_await server.read_bytes(4);
  const std::string rest = co_await server.read_bytes(100, Partial::yes);  // what there is
  fmt::print("{} {}\n", four, rest);
}

Future<void> read_until() {
  const auto [server, client] = connected();
  client.write("one\r\ntwo\r\n");
  const std::string first = co_await server.read_until("\r\n");
  const std::string second = co_await server.read_until("\r\n", 5);
  fmt::print("{} and {} bytes\n", first.size(), second.size());
  client.write("a line that is too long\r\n");
  try {
    co_await server.read_until("\r\n", 10);
  } catch (const StreamClosedError& error) {
    fmt::print("{}\n", error.real_error() == StreamErrc::unsatisfiable_read);
  }
}

Future<void> read_until_regex() {
  const auto [server, client] = connected();
  client.write("one\r\n\r\ntwo\n\nthree, for ever");
  for (int i = 0; i < 2; ++i) {
    const std::string part = co_await server.read_until_regex("\r?\n\r?\n", 100);
    fmt::print("{} bytes\n", part.size());
  }
  const Regex hard("(e+)+!");  // kept, for many reads
  client.write(std::string(100, 'e'));
  try {
    co_await server.read_until_regex(hard);
  } catch (const StreamClosedError& error) {
    fmt::print("{}\n", error.real_error() == StreamErrc::regex_limit);
  }
}

Future<void> read_into() {
  const auto [server, client] = connected();
  client.write("0123456789");
  std::array<char, 4> buffer{};
  const std::size_t all = co_await server.read_into(buffer);
  const std::size_t some = co_await server.read_into(buffer, Partial::yes);
  fmt::print("{} {}\n", all, some);
}

Future<void> read_until_close() {
  const auto [server, client] = connected();
  client.write("all that comes ");
  client.write("until the end");
  client.close();
  const std::string all = co_await server.read_until_close();
  fmt::print("{}\n", all);
}

Future<void> cancel_a_read() {
  const auto [server, client] = connected();
  client.write("half a li");
  const Future<std::string> line = server.read_until("\n");
  try {
    co_await gen::with_timeout(10ms, line);
  } catch (const TimeoutError&) {
    line.cancel();  // with_timeout does not
  }
  client.write("ne\n");
  const std::string whole = co_await server.read_until("\n");
  fmt::print("{}", whole);
}

Future<void> write() {
  const auto [server, client] = connected();
  client.write("these leave ");
  client.write("together");                          // at the end of the turn
  co_await client.write(std::string(100'000, '.'));  // taken over, not copied
  fmt::print("{}\n", client.bytes_written());
}

Future<void> flush() {
  const auto [server, client] = connected();
  client.write("now");
  client.flush();
  fmt::print("{}\n", client.writing());
  co_return;
}

Future<void> drain() {
  const auto [server, client] = connected({.write_watermark = 10'000});
  const Future<std::string> all = server.read_until_close();
  for (int i = 0; i < 100; ++i) {
    client.write(std::string(1000, '.'));
    co_await client.drain();  // no more than 10,000 bytes wait
  }
  client.close();
  const std::string bytes = co_await all;
  fmt::print("{}\n", bytes.size());
}

Future<void> buffered_writes() {
  const auto [server, client] = connected({.buffered_writes = true});
  for (int i = 0; i < 3; ++i) co_await client.write("line\n");  // in one system call
  fmt::print("{}\n", client.writing());
  const std::string lines = co_await server.read_bytes(15);
}

Future<void> write_file() {
  char path[] = "/tmp/tornado-asio-XXXXXX";
  const int file = ::mkstemp(path);
  if (::write(file, "0123456789", 10) != 10) throw std::runtime_error("write");
  const auto [server, client] = connected();
  client.write("<");
  const std::uint64_t all = co_await client.write_file(path);
  client.write_file(file, 2, 3);
  client.write(">");
  const std::string text = co_await server.read_until(">");
  fmt::print("{} {}\n", all, text);
  ::close(file);
  ::unlink(path);
}

Future<void> shutdown_write() {
  const auto [server, client] = connected({.allow_half_open = true});
  client.write("question");
  co_await client.shutdown_write();
  const std::string question = co_await server.read_until_close();
  server.write("answer to " + question);
  server.shutdown_write();
  const std::string answer = co_await client.read_until_close();
  fmt::print("{}\n", answer);
}

Future<void> copy() {
  const auto [inner, client] = connected();
  const auto [server, outer] = connected();
  client.write("through the middle");
  client.shutdown_write();
  const std::uint64_t count = co_await pump(inner, outer);
  const std::string text = co_await server.read_until_close();
  fmt::print("{} bytes: {}\n", count, text);
}

Future<void> close() {
  const auto [server, client] = connected();
  server.set_close_callback([] { fmt::print("closed\n"); });
  const Future<std::string> line = server.read_until("\n");
  client.close();
  try {
    co_await line;
  } catch (const StreamClosedError& error) {
    fmt::print("{} {} {}\n", error.what(), server.closed(), !server.error());
  }
  co_await gen::moment;  // for the close callback, which is the last
}

Future<void> buffer_full() {
  const auto [server, client] =
      connected({.max_buffer_size = 10'000, .max_write_buffer_size = 100});
  try {
    co_await client.write(std::string(101, '.'));
  } catch (const StreamBufferFullError&) {
    fmt::print("nothing was sent, and it is {}\n", client.closed() ? "closed" : "open");
  }
  const Future<std::string> line = server.read_until("\n");
  for (int i = 0; i < 200; ++i) co_await client.write(std::string(100, '.'));
  try {
    co_await line;
  } catch (const StreamBufferFullError&) {
    fmt::print("that is {}\n", server.error() == StreamErrc::buffer_full);
  }
}

void handles() {
  IOStream none;
  const auto [server, client] = connected();
  none = server;
  fmt::print("{} {} {}\n", static_cast<bool>(IOStream()), none == server, none == client);
  fmt::print("{} {}\n", server.reading(), server.fileno() >= 0);
  fmt::print("{} chunks of {}\n",
             server.options().max_buffer_size / server.options().read_chunk_size,
             server.options().read_chunk_size);
}

void socket_options() {
  IOStream stream(Socket::tcp(AF_INET));
  stream.set_nodelay(true);
  stream.set_keepalive(true);
  stream.set_send_buffer_size(100'000);
  stream.set_receive_buffer_size(100'000);
  stream.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  fmt::print("{} {}\n", stream.getsockopt(SOL_SOCKET, SO_KEEPALIVE), stream.local_address().str());
}

Future<void> pipes() {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  PipeIOStream reader(ends[0]);
  PipeIOStream writer(ends[1]);
  writer.write("through a pipe\n");
  const std::string line = co_await reader.read_until("\n");
  fmt::print("{}", line);
}

int main() {
  IOLoop& io_loop = IOLoop::current();
  for (auto* example : {connect, read_bytes, read_until, read_until_regex, read_into,
                        read_until_close, cancel_a_read, write, flush, drain, buffered_writes,
                        write_file, shutdown_write, copy, close, buffer_full}) {
    io_loop.run_sync(example);
  }
  handles();
  socket_options();
}
