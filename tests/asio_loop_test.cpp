// SPDX-License-Identifier: Apache-2.0
//
// An IOLoop on an io_context that the program owns and runs.
#include "coroutine_support.hpp"
#include "ioloop_support.hpp"
#include "stream_support.hpp"
#include "tornado/asio.hpp"
#include "tornado/tcpserver.hpp"

#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;

namespace {

using test::Note;

constexpr auto never = IOLoop::MakeCurrent::never;

/// A context that stops, and fails the test, when it is not done in time.
class Context : public asio::io_context {
 public:
  /// Runs until nothing is pending.
  void run_out() {
    restart();
    run_for(test::async_test_timeout());
    REQUIRE_MESSAGE(stopped(), "something was pending for too long");
  }
  /// Whether nothing is pending, after all that can be done now was done.
  bool idle() {
    restart();
    while (poll() > 0) {
    }
    const bool result = stopped();
    restart();
    return result;
  }
};

Future<void> write_when_destroyed(std::string& out, char letter, Future<void> waits) {
  const Note note(out, letter);
  co_await waits;
}

class EchoServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    const std::string line = co_await stream.read_until("\n");
    co_await stream.write(line);
  }
};

}  // namespace

TEST_SUITE("asio") {
  // Python: ioloop_test.TestIOLoop.test_explicit_asyncio_loop
  TEST_CASE("make_ioloop: of an io_context of the program's, which several loops may adapt") {
    asio::io_context context;
    const auto loop = make_ioloop(context, IOLoop::MakeCurrent::never);
    CHECK(&get_io_context(*loop) == &context);
    const auto second = make_ioloop(context, IOLoop::MakeCurrent::never);
    CHECK(&get_io_context(*second) == &context);
    int calls = 0;
    loop->add_callback([&] { ++calls; });
    second->add_callback([&] { ++calls; });
    context.run();
    CHECK(calls == 2);
  }

  TEST_CASE("make_ioloop: an idle loop does not keep the context running") {
    Context io;
    const auto loop = make_ioloop(io);
    io.run_out();
    io.run_out();
    CHECK(io.idle());
  }

  TEST_CASE("make_ioloop: the loop is current in its callbacks, and not afterwards") {
    Context io;
    test::Loop other;
    const auto loop = make_ioloop(io, never);
    std::vector<IOLoop*> seen;
    const auto look = [&] { seen.push_back(&IOLoop::current()); };
    loop->add_callback(look);
    loop->call_later(1ms, look);
    asio::post(io, look);
    loop->add_callback([&]() -> Future<void> {
      look();
      co_await gen::sleep(1ms);
      look();
    });
    io.run_out();
    look();
    REQUIRE(seen.size() == 6);
    CHECK(std::count(seen.begin(), seen.end(), loop.get()) == 4);
    CHECK(std::count(seen.begin(), seen.end(), &other) == 2);
    CHECK(seen.back() == &other);
  }

  TEST_CASE("make_ioloop: it becomes the current loop of a thread that has none") {
    std::thread([] {
      Context io;
      const auto first = make_ioloop(io);
      CHECK(IOLoop::current_or_null() == first.get());
      const auto second = make_ioloop(io);
      CHECK(IOLoop::current_or_null() == first.get());
      const auto third = make_ioloop(io, IOLoop::MakeCurrent::always);
      CHECK(IOLoop::current_or_null() == third.get());
    }).join();
  }

  TEST_CASE("make_ioloop: callbacks and the program's own handlers take turns") {
    Context io;
    const auto loop = make_ioloop(io);
    std::string order;
    std::function<void(int)> callback = [&](int left) {
      order += 'c';
      if (left > 0) loop->add_callback([&, left] { callback(left - 1); });
    };
    std::function<void(int)> handler = [&](int left) {
      order += 'h';
      if (left > 0) asio::post(io, [&, left] { handler(left - 1); });
    };
    callback(3);
    handler(3);
    io.run_out();
    CHECK(order == "chchchch");
  }

  // A loop with a context of its own asks it less often after so many.
  TEST_CASE("make_ioloop: many iterations and the program's own handlers take turns") {
    Context io;
    const auto loop = make_ioloop(io);
    constexpr int times = 300;
    std::string order;
    const auto iterate = [&order]() -> Future<void> {
      for (int i = 0; i < times; ++i) {
        order += 'i';
        co_await gen::moment;
      }
    };
    std::function<void(int)> handler = [&](int left) {
      order += 'h';
      if (left > 0) asio::post(io, [&, left] { handler(left - 1); });
    };
    loop->add_callback(iterate);
    asio::post(io, [&] { handler(times); });
    io.run_out();
    CHECK(std::count(order.begin(), order.end(), 'i') == times);
    CHECK(order.find("iii") == order.npos);
  }

  TEST_CASE("make_ioloop: callbacks run in the order in which they were added, from wherever") {
    Context io;
    const auto loop = make_ioloop(io, never);
    std::string order;
    const auto add = [&](char letter) {
      loop->add_callback([&order, letter] { order += letter; });
    };
    add('a');
    loop->add_callback([&] {
      add('c');
      asio::post(io, [&] { add('d'); });
    });
    add('b');
    io.run_out();
    CHECK(order == "abcd");
  }

  TEST_CASE("make_ioloop: a timeout keeps the context running until it ran or was removed") {
    Context io;
    const auto loop = make_ioloop(io);
    bool ran = false;
    loop->call_later(2ms, [&] { ran = true; });
    const Timeout later = loop->call_later(1h, [] { FAIL_CHECK("an hour later"); });
    CHECK(!io.idle());
    loop->remove_timeout(later);
    io.run_out();
    CHECK(ran);

    const Timeout inside = loop->call_later(1h, [] { FAIL_CHECK("an hour later"); });
    loop->add_callback([&] { loop->remove_timeout(inside); });
    io.run_out();

    loop->call_later(1ms, [] {});
    CHECK(!io.idle());
    io.run_out();
  }

  TEST_CASE("make_ioloop: what another thread is to complete keeps the context running") {
    Context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    std::optional<RemotePromise<int>> promise(std::in_place);
    int got = 0;
    loop->add_callback([&]() -> Future<void> { got = co_await promise->get_future(); });
    CHECK(!io.idle());
    std::thread thread([&] {
      promise->set_result(7);
      promise.reset();
    });
    io.run_out();
    thread.join();
    CHECK(got == 7);

    // Also one that is made and used before the context runs, and one that is pending at the close.
    RemotePromise<int>().set_result(1);
    CHECK(io.idle());
    RemotePromise<int> dropped;
    CHECK(!io.idle());
    loop->close();
    CHECK(io.idle());
  }

  TEST_CASE("make_ioloop: a job of an executor keeps the context running") {
    Context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    ThreadPoolExecutor executor(1);
    std::string got;
    loop->add_callback([&]() -> Future<void> {
      got = co_await executor.submit([] { return std::string("done"); });
    });
    io.run_out();
    CHECK(got == "done");
  }

  TEST_CASE("make_ioloop: a Future that nobody is to complete does not keep the context running") {
    Context io;
    const auto loop = make_ioloop(io);
    std::string out;
    const Future<void> forever;
    loop->add_callback([&] { return write_when_destroyed(out, 'd', forever); });
    io.run_out();
    CHECK(out.empty());
    asio::post(io, [&] { forever.set_result(); });
    io.run_out();
    CHECK(out == "d");
  }

  TEST_CASE("make_ioloop: a pending read keeps the context running, an open stream does not") {
    Context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    auto [reader, writer] = test::make_iostream_pair();
    CHECK(io.idle());
    const Future<std::string> line = reader.read_until("\n");
    CHECK(!io.idle());
    writer.write("hello\n");
    io.run_out();
    CHECK(line.result() == "hello\n");
    const Future<std::string> more = reader.read_bytes(1);
    CHECK(!io.idle());
    writer.close();
    io.run_out();
    CHECK(test::outcome(more) == "Stream is closed");
  }

  TEST_CASE("make_ioloop: add_handler keeps the context running until remove_handler") {
    Context io;
    const auto loop = make_ioloop(io);
    test::SocketPair pair;
    int events = 0;
    const auto handler = [&](native_handle_type fd, int) {
      ++events;
      char byte;
      CHECK(::read(fd, &byte, 1) == 1);
      if (events == 2) loop->remove_handler(fd);
    };
    for (int round = 0; round < 3; ++round) {
      events = 0;
      loop->add_handler(pair.server(), handler, IOLoop::READ);
      CHECK(!io.idle());
      test::send(pair.client(), "ab");
      io.run_out();
      CHECK(events == 2);
      loop->add_handler(pair.server(), handler, IOLoop::READ);
      loop->remove_handler(pair.server());
      CHECK(io.idle());
    }
  }

  TEST_CASE("make_ioloop: a server that listens keeps the context running until it is stopped") {
    Context io;
    const auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
    EchoServer server;
    auto [socket, port] = test::bind_unused_port();
    server.add_socket(std::move(socket));
    CHECK(!io.idle());
    std::string answer;
    loop->add_callback([&, address = Address("127.0.0.1", port)]() -> Future<void> {
      IOStream client(Socket::tcp(AF_INET));
      co_await client.connect(address);
      client.write("ping\n");
      answer = co_await client.read_until("\n");
      server.stop();
    });
    io.run_out();
    CHECK(answer == "ping\n");
  }

  TEST_CASE(
      "add_callback_from_signal: works while the context runs, and does not keep it running") {
    Context io;
    const auto loop = make_ioloop(io);
    int called = 0;
    const auto count = [](void* argument) { ++*static_cast<int*>(argument); };
    CHECK(loop->add_callback_from_signal(count, &called));  // before there was a turn
    io.run_out();
    for (int i = 1; i <= 3; ++i) {
      asio::steady_timer timer(io, 1h);
      timer.async_wait([](const std::error_code&) {});
      loop->add_callback_from_signal(
          [](void* argument) { static_cast<asio::steady_timer*>(argument)->cancel(); }, &timer);
      loop->add_callback_from_signal(count, &called);
      io.run_out();
      CHECK(called == 1 + i);
      CHECK(io.idle());
    }
    // A callback that is added while nothing else is pending waits until something is.
    loop->add_callback_from_signal(count, &called);
    CHECK(io.idle());
    asio::post(io, [] {});
    io.run_out();
    loop->close();
    CHECK(io.idle());
  }

  TEST_CASE(
      "make_ioloop: an exception in a callback is logged, one in another handler leaves run") {
    Context io;
    const auto loop = make_ioloop(io);
    loop->add_callback([] { throw test::CustomError("a callback's"); });
    asio::post(io, [] { throw test::CustomError("a handler's"); });
    const test::ExpectLog expected(log::app_log, "Exception in callback");
    CHECK_THROWS_WITH_AS(io.run(), "a handler's", test::CustomError);
    io.run_out();
    CHECK(expected.count() == 1);
  }

  TEST_CASE("IOLoop.start: runs an adapted context until stop, and leaves it as it was") {
    Context io;
    const auto loop = make_ioloop(io);
    std::string order;
    asio::post(io, [&] {
      CHECK(&IOLoop::current() == loop.get());
      CHECK_THROWS_AS(loop->start(), std::logic_error);
      order += 'h';
      loop->call_later(1ms, [&] {
        order += 't';
        loop->stop();
      });
    });
    loop->start();
    CHECK(order == "ht");
    CHECK(!io.stopped());
    CHECK(loop->run_sync([]() -> Future<int> {
      co_await gen::sleep(1ms);
      co_return 5;
    }) == 5);
    loop->stop();
    loop->start();  // returns at once, as of a loop that was stopped before
    asio::post(io, [&] { order += 'h'; });
    io.run_out();
    CHECK(order == "hth");
  }

  TEST_CASE("IOLoop.stop: does not stop the application's run") {
    Context io;
    const auto loop = make_ioloop(io);
    bool ran = false;
    loop->add_callback([&] { loop->stop(); });
    loop->call_later(1ms, [&] { ran = true; });
    io.run_out();
    CHECK(ran);
  }

  TEST_CASE("IOLoop.close: the context and the handlers of others go on") {
    Context io;
    auto loop = make_ioloop(io);
    const auto other = make_ioloop(io);
    std::string out;
    const auto fail = [] { FAIL_CHECK("after the close"); };
    asio::post(io, [&] {
      out += 'c';
      loop.reset();
    });
    loop->add_callback(fail);
    loop->call_later(1ms, fail);
    test::SocketPair pair;
    loop->add_handler(
        pair.server(), [&](int, int) { fail(); }, IOLoop::READ);
    test::send(pair.client(), "x");
    asio::steady_timer timer(io, 2ms);
    timer.async_wait([&](const std::error_code& error) { out += error ? 'e' : 't'; });
    other->call_later(2ms, [&] { out += 'o'; });
    CHECK(!io.stopped());
    io.run_out();
    std::sort(out.begin(), out.end());
    CHECK(out == "cot");
  }

  TEST_CASE("make_ioloop: loops on one context complete each other's Futures") {
    Context io;
    const auto one = make_ioloop(io);
    const auto two = make_ioloop(io);
    const Future<int> question;
    const Future<int> answer;
    IOLoop* resumed_in = nullptr;
    one->add_callback([&]() -> Future<void> {
      question.set_result(20);
      const int result = co_await answer;
      CHECK(result == 21);
      resumed_in = &IOLoop::current();
    });
    two->add_callback([&]() -> Future<void> {
      const int value = co_await question;
      answer.set_result(value + 1);
    });
    io.run_out();
    CHECK(resumed_in == one.get());
  }

  TEST_CASE("make_ioloop: the loop is destroyed before the context, with everything pending") {
    std::string out;
    {
      Context io;
      auto loop = make_ioloop(io, IOLoop::MakeCurrent::always);
      auto [reader, writer] = test::make_iostream_pair();
      loop->add_callback([&] { return write_when_destroyed(out, 's', gen::sleep(1h)); });
      loop->add_callback([&]() -> Future<void> {
        const Note note(out, 'r');
        const IOStream stream = reader;
        const std::string line = co_await stream.read_until("\n");
      });
      RemotePromise<void> promise;
      CHECK(!io.idle());
      loop->add_callback([note = std::make_shared<Note>(out, 'c')] {});
      writer.write("some");
      loop.reset();
      CHECK(out == "rsc");
      CHECK(reader.closed());
      promise.set_result();
      asio::post(io, [&] { out += '!'; });
      io.run_out();
    }
    CHECK(out == "rsc!");
  }

  TEST_CASE("make_ioloop: the context is destroyed before the loop, with everything pending") {
    std::string out;
    auto io = std::make_unique<Context>();
    const auto loop = make_ioloop(*io, IOLoop::MakeCurrent::always);
    auto [reader, writer] = test::make_iostream_pair();
    loop->add_callback([&] { return write_when_destroyed(out, 's', gen::sleep(1h)); });
    loop->add_callback([&]() -> Future<void> {
      const Note note(out, 'r');
      const std::string line = co_await reader.read_until("\n");
    });
    test::SocketPair pair;
    loop->add_handler(
        pair.server(), [](int, int) {}, IOLoop::READ);
    std::optional<RemotePromise<void>> promise(std::in_place);
    const Future<void> remote = promise->get_future();
    CHECK(!io->idle());
    loop->add_callback([note = std::make_shared<Note>(out, 'c')] {});
    writer.write("some");
    io.reset();
    CHECK(out == "rsc");
    CHECK(reader.closed());
    CHECK(remote.cancelled());
    promise->set_result();
    loop->add_callback([] { FAIL_CHECK("after the close"); });
    CHECK_THROWS_AS(get_io_context(*loop), std::logic_error);
    CHECK_THROWS_AS(get_executor(*loop), std::logic_error);
    CHECK_THROWS_AS(loop->start(), std::logic_error);
  }

  TEST_CASE("make_ioloop: a context that was never run may be destroyed, before or after") {
    {
      Context io;
      const auto loop = make_ioloop(io);
      loop->add_callback([] {});
    }
    auto io = std::make_unique<Context>();
    const auto loop = make_ioloop(*io);
    loop->add_callback([] {});
    io.reset();
  }

  TEST_CASE("make_ioloop: destroying the context inside a callback ends the program") {
    const test::Child child = test::run_in_child([] {
      auto* io = new asio::io_context;
      auto loop = make_ioloop(*io);
      loop->add_callback([&] { delete io; });
      io->run();
    });
    CHECK(child.aborted());
    CHECK(child.text.find("an io_context was destroyed inside a callback") != child.text.npos);
  }
}
