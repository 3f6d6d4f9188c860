// SPDX-License-Identifier: Apache-2.0
//
// What a program does with the io_context of an IOLoop.
#include "ioloop_support.hpp"
#include "loop_support.hpp"
#include "support.hpp"
#include "tornado/asio.hpp"
#include "tornado/gen.hpp"
#include "tornado/log.hpp"

#include <asio/buffer.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>

#include <cstddef>
#include <stdexcept>
#include <system_error>

#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::at_end;
using test::CustomError;

TEST_SUITE("asio") {
  TEST_CASE("get_io_context: a handler of the program's own runs in the loop, and may throw (L5)") {
    test::Loop loop;
    IOLoop* current = nullptr;
    bool resumed = false;
    const Future<void> gate;
    const auto f = [&]() -> Future<void> {
      co_await gate;
      resumed = true;
      loop.stop();
    };
    const Future<void> future = f();
    asio::post(get_io_context(loop), [] { throw CustomError("from an Asio handler"); });
    asio::post(get_io_context(loop), [&] {
      current = &IOLoop::current();
      gate.set_result();
      CHECK_FALSE(resumed);
    });
    const test::ExpectLog expected(log::app_log, "CustomError: from an Asio handler");
    loop.wait();
    CHECK(current == &loop);
    CHECK(resumed);
    CHECK(expected.count() == 1);
    loop.close();
    CHECK_THROWS_AS(get_io_context(loop), std::logic_error);
  }

  TEST_CASE("IOLoop.close: a program's own Asio handler whose destructor uses the loop") {
    test::Loop loop;
    bool destroyed = false;
    bool ran = false;
    Future<int> future;
    asio::post(get_io_context(loop), [&, end = at_end([&] {
                                           destroyed = true;
                                           CHECK(&IOLoop::current() == &loop);
                                           loop.add_callback([&] { ran = true; });
                                           loop.call_later(0, [&] { ran = true; });
                                           future.add_done_callback([&] { ran = true; });
                                           static_cast<void>(gen::sleep(0s));
                                           static_cast<void>(gen::multi(gen::moment, gen::moment));
                                           future.set_result(1);
                                         })] { ran = true; });
    loop.close();
    CHECK(destroyed);
    CHECK_FALSE(ran);
  }

  TEST_CASE("IOLoop.add_handler: a descriptor that an Asio object also owns") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    asio::posix::stream_descriptor object(get_io_context(loop), ends[0]);
    int by_asio = 0;
    object.async_wait(asio::posix::stream_descriptor::wait_read, [&](const std::error_code& error) {
      CHECK_FALSE(error);
      ++by_asio;
    });
    int by_loop = 0;
    loop.add_handler(
        ends[0], [&](int, int) { ++by_loop; }, IOLoop::READ);
    loop.iterate(3);
    CHECK(by_asio + by_loop == 0);
    CHECK(::write(ends[1], "x", 1) == 1);
    loop.run_until([&] { return by_asio == 1 && by_loop >= 2; });
    loop.remove_handler(ends[0]);
    // Asio's part has not noticed.
    char byte = 0;
    object.async_read_some(asio::buffer(&byte, 1),
                           [&](const std::error_code& error, std::size_t size) {
                             CHECK_FALSE(error);
                             CHECK(size == 1);
                             loop.stop();
                           });
    loop.wait();
    CHECK(byte == 'x');
    ::close(ends[1]);
  }
}
