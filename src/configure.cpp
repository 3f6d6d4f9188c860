// SPDX-License-Identifier: Apache-2.0
//
// IOLoop::configure.
#include "tornado/ioloop.hpp"

#include <asio/detail/config.hpp>
#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace tornado {
namespace {

// As asio/io_context.hpp chooses.
#if defined(ASIO_HAS_IOCP)
constexpr std::string_view reactor = "iocp";
#elif defined(ASIO_HAS_IO_URING_AS_DEFAULT)
constexpr std::string_view reactor = "io_uring";
#elif defined(ASIO_HAS_EPOLL)
constexpr std::string_view reactor = "epoll";
#elif defined(ASIO_HAS_KQUEUE)
constexpr std::string_view reactor = "kqueue";
#elif defined(ASIO_HAS_DEV_POLL)
constexpr std::string_view reactor = "devpoll";
#else
constexpr std::string_view reactor = "select";
#endif

// "tornado.platform.epoll.EPollIOLoop" is EPollIOLoop.
std::string_view class_name(std::string_view name) {
  return name.substr(name.rfind('.') + 1);  // npos + 1 is 0
}

bool means_reactor(std::string_view name) {
  if (name == "EPollIOLoop") return reactor == "epoll";
  if (name == "KQueueIOLoop") return reactor == "kqueue";
  if (name == "SelectIOLoop") return reactor == "select";
  // Whatever polls.
  return name == reactor || name == "asyncio" || name == "AsyncIOLoop" ||
         name == "AsyncIOMainLoop" || name == "PollIOLoop" || name == "IOLoop";
}

}  // namespace

std::string_view IOLoop::configurable_default() noexcept { return reactor; }

void IOLoop::configure(std::string_view name) {
  if (means_reactor(class_name(name))) return;
  throw std::invalid_argument(fmt::format(
      "IOLoop::configure: this library was built without \"{}\"; there is: {}", name, reactor));
}

}  // namespace tornado
