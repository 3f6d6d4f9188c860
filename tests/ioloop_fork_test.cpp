// SPDX-License-Identifier: Apache-2.0
//
// Loops and fork().
#include "ioloop_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/netutil.hpp"
#include "tornado/tcpclient.hpp"
#include "tornado/tcpserver.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::Child;
using test::run_in_child;
using test::send;
using test::SocketPair;

namespace {

// In a child: doctest is the parent's.
void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "not so: %s\n", what);
  ::_exit(1);
}

// That `f` throws the error which names `call`.
template <class F>
void expect_refused(const std::string& call, F f) {
  try {
    f();
  } catch (const std::logic_error& error) {
    const std::string text =
        call +
        ": the loop was made before a fork of which this is the child; make loops after the fork, "
        "or call IOLoop::clear_current() in the child and make a new one";
    expect(error.what() == text, error.what());
    return;
  }
  expect(false, (call + " throws").c_str());
}

/// The child comes back into the loop, which ends it.
void fork_into_loop() {
  const pid_t child = ::fork();
  if (child == 0) return;
  int status = 0;
  expect(::waitpid(child, &status, 0) == child, "there was a child");
  expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "it was aborted");
}

void send_once(int fd) { expect(::send(fd, "once\n", 5, 0) == 5, "it is sent"); }

Future<void> fork_behind(Future<void> before) {
  co_await before;
  fork_into_loop();
}
Future<void> write_behind(Future<void> before, IOStream stream) {
  co_await before;
  co_await stream.write("once\n");
}
Future<void> send_behind(Future<void> before, int fd) {
  co_await before;
  send_once(fd);
}
Future<void> fork_behind_read(IOStream stream) {
  co_await stream.read_until("\n");
  fork_into_loop();
}

/// What `f` sends, in a process whose child comes back into the loop.
template <class F>
std::string sent_by_parent_with_child(F f) {
  const SocketPair pair;
  const Child child = run_in_child([&] {
    test::Loop loop;
    f(loop, pair.client());
  });
  CHECK_MESSAGE(child.succeeded(), child.text);
  CHECK(child.text.find("a forked child returned into the loop") != std::string::npos);
  char buffer[100];
  const ssize_t size = ::recv(pair.server(), buffer, sizeof buffer, MSG_DONTWAIT);
  return std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
}

class EchoServer : public TCPServer {
 public:
  ~EchoServer() override { close_all_connections(); }

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    try {
      for (;;) {
        std::string line = co_await stream.read_until("\n");
        co_await stream.write(std::move(line));
      }
    } catch (const StreamClosedError&) {
    }
  }
};

Future<std::string> ask(std::uint16_t port, std::string line) {
  TCPClient client;
  IOStream stream = co_await client.connect("127.0.0.1", port);
  co_await stream.write(line);
  co_return co_await stream.read_until("\n");
}

}  // namespace

TEST_SUITE("ioloop") {
  TEST_CASE("fork: the child may not use its parent's loop, and is told so (L28)") {
    test::Loop loop;
    SocketPair pair;
    int ran = 0;
    const Child child = run_in_child([&] {
      expect_refused("IOLoop::start", [&] { loop.start(); });
      expect_refused("IOLoop::start", [&] { loop.run_sync([] {}); });
      expect_refused("IOLoop::current", [] { IOLoop::current(); });
      expect_refused("IOLoop::current", [] { std::rethrow_exception(gen::sleep(1s).exception()); });
      expect_refused("IOLoop::add_callback", [&] { loop.add_callback([&] { ++ran; }); });
      expect_refused("IOLoop::call_at", [&] { loop.call_later(1.0, [&] { ++ran; }); });
      expect_refused("IOLoop::add_handler", [&] {
        loop.add_handler(
            pair.client(), [](int, int) {}, IOLoop::READ);
      });
      expect_refused("IOLoop::add_signal_handler",
                     [&] { loop.add_signal_handler(SIGUSR1, [] {}); });
      expect_refused("IOLoop::run_in_executor", [&] { loop.run_in_executor(nullptr, [] {}); });
      expect(!loop.add_callback_from_signal([](void*) {}), "add_callback_from_signal is refused");
      expect(ran == 0, "nothing ran");
    });
    CHECK_MESSAGE(child.succeeded(), child.text);
    loop.iterate(3);
  }

  TEST_CASE("fork: a child that comes back into the loop of its parent is ended, with a message") {
    const Child child = run_in_child([] {
      IOLoop loop;
      pid_t inner = -1;
      loop.add_callback([&] {
        inner = ::fork();
        if (inner != 0) loop.stop();
      });
      loop.start();
      int status = 0;
      expect(::waitpid(inner, &status, 0) == inner, "there was a child");
      expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "it was aborted");
    });
    CHECK_MESSAGE(child.succeeded(), child.text);
    CHECK(child.text ==
          "tornado: a forked child returned into the loop that its parent runs. Fork before there "
          "is a loop, or leave the child by exec or _exit.\n");
  }

  TEST_CASE("fork: a child that comes back does not run its parent's next callback") {
    CHECK(sent_by_parent_with_child([](test::Loop& loop, int fd) {
            loop.add_callback(fork_into_loop);
            loop.add_callback([&] { send_once(fd); });
            loop.add_callback([&] { loop.stop(); });
            loop.start();
          }) == "once\n");
  }

  TEST_CASE("fork: nor its next timeout") {
    CHECK(sent_by_parent_with_child([](test::Loop& loop, int fd) {
            loop.call_later(0s, fork_into_loop);
            loop.call_later(0s, [&] { send_once(fd); });
            loop.call_later(0s, [&] { loop.stop(); });
            loop.start();
          }) == "once\n");
  }

  TEST_CASE("fork: nor its next handler") {
    CHECK(sent_by_parent_with_child([](test::Loop& loop, int fd) {
            const SocketPair first;
            const SocketPair second;
            int handled = 0;
            for (const SocketPair* each : {&first, &second}) {
              send_once(each->server());
              loop.add_handler(
                  each->client(),
                  [&](int client, int) {
                    loop.remove_handler(client);
                    if (++handled == 1) return fork_into_loop();
                    send_once(fd);
                    loop.stop();
                  },
                  IOLoop::READ);
            }
            loop.start();
          }) == "once\n");
  }

  TEST_CASE("fork: nor its next coroutine") {
    CHECK(sent_by_parent_with_child([](test::Loop& loop, int fd) {
            Future<void> go;
            const auto forks = fork_behind(go);
            const auto next = send_behind(go, fd);
            loop.add_callback([&] { go.set_result(); });
            loop.run([&] { return next; });
          }) == "once\n");
  }

  TEST_CASE("fork: nor sends it what its parent has written") {
    CHECK(sent_by_parent_with_child([](test::Loop& loop, int fd) {
            Future<void> go;
            const auto writes = write_behind(go, IOStream(Socket(::dup(fd))));
            const auto forks = fork_behind(go);
            loop.add_callback([&] { go.set_result(); });
            loop.run([&] { return writes; });
          }) == "once\n");
  }

  TEST_CASE("fork: nor reads it what its parent's next stream has got") {
    CHECK(sent_by_parent_with_child([](test::Loop& loop, int fd) {
            const SocketPair first;
            const SocketPair second;
            const IOStream reader(Socket(::dup(first.client())));
            const IOStream next(Socket(::dup(second.client())));
            Future<void> forks;
            Future<std::string> line;
            loop.add_callback([&] {
              send_once(first.server());
              send_once(second.server());
              forks = fork_behind_read(reader);
              line = next.read_until("\n");
            });
            loop.run_until([&] { return forks.done() && line.done(); });
            ::send(fd, line.result().data(), line.result().size(), 0);
          }) == "once\n");
  }

  TEST_CASE("fork: a child that exits inside a callback leaves quietly") {
    const Child child = run_in_child([] {
      pid_t inner = -1;
      IOLoop& loop = IOLoop::current();
      loop.add_callback([&] {
        inner = ::fork();
        if (inner == 0) std::exit(3);
        loop.stop();
      });
      loop.start();
      int status = 0;
      expect(::waitpid(inner, &status, 0) == inner, "there was a child");
      expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "it ended as it wished");
    });
    CHECK_MESSAGE(child.succeeded(), child.text);
    CHECK(child.text.empty());
  }

  TEST_CASE("fork: the child lets go of the parent's loop by clear_current, and makes its own") {
    test::Loop loop;
    bool timeout_ran = false;
    loop.call_later(20ms, [&] {
      timeout_ran = true;
      loop.stop();
    });
    const Child child = run_in_child([] {
      IOLoop::clear_current();
      int ran = 0;
      IOLoop::current().call_later(1ms, [&] {
        ++ran;
        IOLoop::current().stop();
      });
      IOLoop::current().start();
      expect(ran == 1, "its own loop runs");
      expect(IOLoop::current().run_sync([]() -> Future<int> {
        co_await gen::sleep(1ms);
        co_return 42;
      }) == 42,
             "and runs coroutines");
    });
    CHECK_MESSAGE(child.succeeded(), child.text);
    loop.wait();
    CHECK(timeout_ran);
  }

  TEST_CASE("fork: what the child closes stays open, and watched, in the parent (L28)") {
    auto loop = std::make_unique<test::Loop>();
    SocketPair watched;
    SocketPair streamed;
    std::string seen;
    loop->add_handler(
        watched.client(),
        [&](int fd, int) {
          char byte = 0;
          CHECK(::recv(fd, &byte, 1, 0) == 1);
          seen += byte;
        },
        IOLoop::READ);
    std::optional<IOStream> stream(std::in_place, Socket(::dup(streamed.client())));
    auto server = std::make_unique<EchoServer>();
    server->listen(0, "127.0.0.1");
    const std::uint16_t port = server->addresses().front().port();
    std::string line;
    const auto reader = [](IOStream from, std::string& to) -> Future<void> {
      to = co_await from.read_until("\n");
    };
    Future<void> read = reader(*stream, line);
    loop->iterate(3);  // all is being waited for

    SUBCASE("the loop alone") {
      const Child child = run_in_child([&] { loop->close(); });
      CHECK_MESSAGE(child.succeeded(), child.text);
    }
    SUBCASE("with its descriptors") {
      const Child child = run_in_child([&] { loop->close(true); });
      CHECK_MESSAGE(child.succeeded(), child.text);
    }
    SUBCASE("one after the other") {
      const Child child = run_in_child([&] {
        loop->remove_handler(watched.client());
        watched.close_client();
        stream->close();
        stream.reset();
        server->stop();
        server.reset();
        loop.reset();
      });
      CHECK_MESSAGE(child.succeeded(), child.text);
    }

    send(watched.server(), "x");
    loop->run_until([&] { return seen == "x"; });
    send(streamed.server(), "hello\n");
    loop->run_until([&] { return read.done(); });
    CHECK(line == "hello\n");
    const std::string answer = loop->run([&] { return ask(port, "still here\n"); });
    CHECK(answer == "still here\n");
    server.reset();
    stream.reset();
  }

  TEST_CASE("fork: what the parent had written but not sent does not leave twice") {
    test::Loop loop;
    SocketPair pair;
    IOStream stream(Socket(::dup(pair.client())));
    Future<void> written = stream.write("once\n");
    const Child child = run_in_child([&] { loop.close(); });
    CHECK_MESSAGE(child.succeeded(), child.text);
    loop.run_until([&] { return written.done(); });
    char buffer[100];
    CHECK(::recv(pair.server(), buffer, sizeof buffer, 0) == 5);
    CHECK(::recv(pair.server(), buffer, sizeof buffer, MSG_DONTWAIT) < 0);
  }

  TEST_CASE("fork: TCPServer.bind, then fork, then start, in parent and child (L28)") {
    IOLoop::clear_current();
    EchoServer server;
    server.bind(0, "127.0.0.1");  // touches no loop
    const std::uint16_t port = server.addresses().front().port();
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t process = ::fork();
    if (process == 0) {
      ::close(ready[0]);  // held by nobody, it tells that the child has ended
      server.start();
      IOLoop::current().add_signal_handler(SIGTERM, [] { IOLoop::current().stop(); });
      ::alarm(30);
      expect(::write(ready[1], "r", 1) == 1, "the parent is told");
      IOLoop::current().start();
      ::_exit(7);
    }
    ::close(ready[1]);
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    {
      test::Loop loop;
      const std::string by_child = loop.run([&] { return ask(port, "child\n"); });
      CHECK(by_child == "child\n");
      ::kill(process, SIGTERM);
      int status = 0;
      REQUIRE(::waitpid(process, &status, 0) == process);
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 7);
      server.start();
      const std::string by_parent = loop.run([&] { return ask(port, "parent\n"); });
      CHECK(by_parent == "parent\n");
      server.close_all_connections();
      server.stop();
    }
    ::close(ready[0]);
  }
}
