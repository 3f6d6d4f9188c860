// SPDX-License-Identifier: Apache-2.0
//
// Messages with their length in front; docs/cookbook.md quotes it.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

using namespace tornado;

constexpr std::size_t most = 1 << 20;  // of a message from somebody we do not know

/// Four bytes, the most significant first.
std::string encode(std::size_t size) {
  std::string bytes(4, '\0');
  for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<char>(size >> (24 - 8 * i));
  return bytes;
}
std::size_t decode(std::string_view bytes) {
  std::size_t size = 0;
  for (const char byte : bytes) size = size << 8 | static_cast<unsigned char>(byte);
  return size;
}

Future<std::string> read_message(IOStream stream) {
  const std::size_t size = decode(co_await stream.read_bytes(4));
  if (size > most) {
    stream.close(std::make_error_code(std::errc::message_size));
    throw std::length_error(fmt::format("a message of {} bytes", size));
  }
  co_return co_await stream.read_bytes(size);
}

/// Both parts leave in one system call: what is written in one turn leaves together.
Future<void> write_message(IOStream stream, std::string message) {
  stream.write(encode(message.size()));
  return stream.write(std::move(message));
}

Future<void> converse() {
  auto sockets = netutil::bind_sockets(0, "127.0.0.1");
  const std::uint16_t port = sockets.front().local_address().port();
  const IOStream client = co_await TCPClient().connect("127.0.0.1", port);
  auto accepted = sockets.front().accept();
  const IOStream server(std::move(accepted->first));

  write_message(client, "first");
  write_message(client, std::string(100'000, '.'));
  write_message(client, "");
  for (int i = 0; i < 3; ++i) {
    const std::string message = co_await read_message(server);
    fmt::print("{} bytes\n", message.size());
  }
  client.write("\xff\xff\xff\xff");
  try {
    co_await read_message(server);
  } catch (const std::length_error& error) {
    fmt::print("{}\n", error.what());
  }
}

int main() { IOLoop::current().run_sync(converse); }
