// SPDX-License-Identifier: Apache-2.0
//
// libuv, as the echo server of its guide: the buffer of a read is allocated for it, and becomes
// that of the write.
#include "../options.hpp"

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

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
  uv_buf_t buffer;
};

void allocate(uv_handle_t*, size_t suggested_size, uv_buf_t* buffer) {
  *buffer = uv_buf_init(static_cast<char*>(std::malloc(suggested_size)),
                        static_cast<unsigned>(suggested_size));
}

void on_written(uv_write_t* request, int) {
  auto* write = reinterpret_cast<WriteRequest*>(request);
  std::free(write->buffer.base);
  delete write;
}

void write(uv_stream_t* stream, char* data, std::size_t size) {
  auto* request = new WriteRequest{{}, uv_buf_init(data, static_cast<unsigned>(size))};
  uv_write(&request->request, stream, &request->buffer, 1, on_written);
}

void write_lines(uv_stream_t* stream, std::string_view data) {
  auto& part = reinterpret_cast<Connection*>(stream)->part;
  part += data;
  std::size_t begin = 0;
  for (auto end = part.find('\n'); end != part.npos; end = part.find('\n', begin)) {
    const std::size_t size = end + 1 - begin;
    auto* line = static_cast<char*>(std::malloc(size));
    std::memcpy(line, part.data() + begin, size);
    write(stream, line, size);
    begin = end + 1;
  }
  part.erase(0, begin);
}

void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
  if (count > 0 && !lines) {
    write(stream, buffer->base, static_cast<std::size_t>(count));
    return;
  }
  if (count > 0) write_lines(stream, {buffer->base, static_cast<std::size_t>(count)});
  std::free(buffer->base);
  if (count >= 0) return;
  uv_close(reinterpret_cast<uv_handle_t*>(stream),
           [](uv_handle_t* handle) { delete reinterpret_cast<Connection*>(handle); });
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
