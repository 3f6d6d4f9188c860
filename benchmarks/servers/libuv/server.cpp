// SPDX-License-Identifier: Apache-2.0
//
// libuv, as the echo server of its guide: the buffer of a read is allocated for it, and becomes
// that of the write.
#include "../options.hpp"

#include <string>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <uv.h>

namespace {

bool lines = false;

struct Connection {
  uv_tcp_t tcp;
  std::string part;  // of a line
};

struct WriteRequest {
  uv_write_t request;
  std::string data;
};

void allocate(uv_handle_t*, size_t suggested_size, uv_buf_t* buffer) {
  static std::vector<char> memory(suggested_size);
  *buffer = uv_buf_init(memory.data(), static_cast<unsigned>(memory.size()));
}

void on_written(uv_write_t* request, int) { delete reinterpret_cast<WriteRequest*>(request); }

void write(uv_stream_t* stream, std::string_view data) {
  uv_buf_t buffer = uv_buf_init(const_cast<char*>(data.data()), static_cast<unsigned>(data.size()));
  const int sent = uv_try_write(stream, &buffer, 1);
  if (sent > 0) data.remove_prefix(static_cast<std::size_t>(sent));
  if (data.empty()) return;
  auto* rest = new WriteRequest{{}, std::string(data)};
  buffer = uv_buf_init(rest->data.data(), static_cast<unsigned>(rest->data.size()));
  uv_write(&rest->request, stream, &buffer, 1, on_written);
}

void write_lines(uv_stream_t* stream, std::string_view data) {
  std::string& part = reinterpret_cast<Connection*>(stream)->part;
  part += data;
  std::string_view rest = part;
  for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
    write(stream, rest.substr(0, end + 1));
    rest.remove_prefix(end + 1);
  }
  part.erase(0, part.size() - rest.size());
}

void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
  if (count < 0) {
    uv_close(reinterpret_cast<uv_handle_t*>(stream),
             [](uv_handle_t* handle) { delete reinterpret_cast<Connection*>(handle); });
  } else if (count > 0) {
    const std::string_view data(buffer->base, static_cast<std::size_t>(count));
    lines ? write_lines(stream, data) : write(stream, data);
  }
}

void on_connection(uv_stream_t* server, int status) {
  if (status < 0) return;
  auto* connection = new Connection();
  uv_tcp_init(server->loop, &connection->tcp);
  auto* stream = reinterpret_cast<uv_stream_t*>(&connection->tcp);
  uv_accept(server, stream);
  uv_tcp_nodelay(&connection->tcp, 1);
  uv_read_start(stream, allocate, on_read);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Options::parse(argc, argv);
  lines = options.lines;
  uv_loop_t* loop = uv_default_loop();
  uv_tcp_t server;
  uv_tcp_init(loop, &server);
  sockaddr_in address;
  uv_ip4_addr("127.0.0.1", options.port, &address);
  uv_tcp_bind(&server, reinterpret_cast<const sockaddr*>(&address), 0);
  if (const int error = uv_listen(reinterpret_cast<uv_stream_t*>(&server), 1024, on_connection)) {
    fmt::print(stderr, "libuv: {}\n", uv_strerror(error));
    return 1;
  }
  int length = sizeof address;
  uv_tcp_getsockname(&server, reinterpret_cast<sockaddr*>(&address), &length);
  say_listening(ntohs(address.sin_port));
  return uv_run(loop, UV_RUN_DEFAULT);
}
