// SPDX-License-Identifier: Apache-2.0
//
// libevent with bufferevents, as the echo server of its book.
#include "../options.hpp"

#include <cstdlib>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace {

bool lines = false;

void on_read(bufferevent* stream, void*) {
  evbuffer* input = bufferevent_get_input(stream);
  evbuffer* output = bufferevent_get_output(stream);
  if (!lines) {
    evbuffer_add_buffer(output, input);
    return;
  }
  std::size_t length = 0;
  while (char* line = evbuffer_readln(input, &length, EVBUFFER_EOL_LF)) {
    line[length] = '\n';  // instead of the NUL
    evbuffer_add(output, line, length + 1);
    std::free(line);
  }
}

void on_event(bufferevent* stream, short events, void*) {
  if ((events & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) bufferevent_free(stream);
}

void on_connection(evconnlistener* listener, evutil_socket_t fd, sockaddr*, int, void*) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bufferevent* stream =
      bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
  bufferevent_setcb(stream, on_read, nullptr, on_event, nullptr);
  bufferevent_enable(stream, EV_READ | EV_WRITE);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Options::parse(argc, argv);
  lines = options.lines;
  event_base* base = event_base_new();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(options.port);
  socklen_t length = sizeof address;
  evconnlistener* listener = evconnlistener_new_bind(
      base, on_connection, nullptr, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 1024,
      reinterpret_cast<sockaddr*>(&address), static_cast<int>(length));
  if (listener == nullptr) {
    fmt::print(stderr, "libevent: cannot listen\n");
    return 1;
  }
  ::getsockname(evconnlistener_get_fd(listener), reinterpret_cast<sockaddr*>(&address), &length);
  say_listening(ntohs(address.sin_port));
  return event_base_dispatch(base);
}
