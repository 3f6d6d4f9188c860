// SPDX-License-Identifier: Apache-2.0
//
// IOLoop::configure.
#include "ioloop_support.hpp"
#include "tornado/ioloop.hpp"

#include <asio/detail/config.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

// Asio's configuration as this program sees it: it has to be the library's.
#if defined(ASIO_HAS_IO_URING_AS_DEFAULT)
constexpr std::string_view built = "io_uring";
#elif defined(ASIO_HAS_EPOLL)
constexpr std::string_view built = "epoll";
#else
constexpr std::string_view built = "select";
#endif

int run_a_loop() {
  test::Loop loop;
  int ran = 0;
  loop.call_later(1ms, [&] {
    ++ran;
    loop.stop();
  });
  loop.wait();
  return ran;
}

}  // namespace

TEST_SUITE("ioloop") {
  // Python: ioloop_test.TestIOLoopConfiguration.test_default
  TEST_CASE("IOLoop.configured_class: tells which reactor the library was built with") {
    CHECK(IOLoop::configured_class() == built);
    CHECK(IOLoop::configurable_default() == built);
    CHECK(IOLoop::configurable_base() == "IOLoop");
    CHECK(run_a_loop() == 1);
  }

  // Python: ioloop_test.TestIOLoopConfiguration.test_asyncio
  TEST_CASE("IOLoop.configure: takes the reactor that there is, and Tornado's names for it") {
    IOLoop::configure(built);
    IOLoop::configure("tornado.platform.asyncio.AsyncIOLoop");
    IOLoop::configure("AsyncIOLoop");
    IOLoop::configure("asyncio");
    IOLoop::configure("tornado.ioloop.PollIOLoop");
    CHECK(IOLoop::configured_class() == built);
    CHECK(run_a_loop() == 1);
  }

  // Python: ioloop_test.TestIOLoopConfiguration.test_asyncio_main
  TEST_CASE("IOLoop.configure: the main loop of asyncio is any loop here") {
    IOLoop::configure("tornado.platform.asyncio.AsyncIOMainLoop");
    CHECK(run_a_loop() == 1);
    if (built == "epoll") IOLoop::configure("tornado.platform.epoll.EPollIOLoop");
    if (built == "select") IOLoop::configure("tornado.platform.select.SelectIOLoop");
  }

  TEST_CASE("IOLoop.configure: a reactor that is not there is an error that lists those that are") {
    const std::string there(built);
    for (const std::string name :
         {"iocp", "trollius", "", "tornado.platform.kqueue.KQueueIOLoop"}) {
      CHECK_THROWS_WITH_AS(
          IOLoop::configure(name),
          ("IOLoop::configure: this library was built without \"" + name + "\"; there is: " + there)
              .c_str(),
          std::invalid_argument);
    }
    CHECK_THROWS_AS(IOLoop::configure(built == "epoll" ? "select" : "epoll"),
                    std::invalid_argument);
    CHECK(IOLoop::configured_class() == built);
  }
}
