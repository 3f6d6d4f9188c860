// SPDX-License-Identifier: Apache-2.0
//
// Handlers of descriptors.
#include "ioloop_support.hpp"
#include "tornado/ioloop.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::at_end;
using test::send;
using test::SocketPair;
using test::thread_time;

namespace {

std::string receive(int fd, std::size_t size = 1024) {
  std::string text(size, '\0');
  const ssize_t got = ::recv(fd, text.data(), text.size(), MSG_DONTWAIT);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

}  // namespace

TEST_SUITE("ioloop") {
  // ---- Handlers -------------------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoop.test_multiple_add
  TEST_CASE("IOLoop.add_handler: a descriptor has one handler (L23)") {
    test::Loop loop;
    auto [socket, port] = test::bind_unused_port();
    const auto fd = socket.native_handle();
    loop.add_handler(
        fd, [](int, int) {}, IOLoop::READ);
    CHECK_THROWS_WITH_AS(loop.add_handler(
                             fd, [](int, int) {}, IOLoop::READ),
                         doctest::Contains("has a handler already"), std::invalid_argument);
    loop.remove_handler(fd);
    loop.add_handler(
        fd, [](int, int) {}, IOLoop::READ);
    loop.remove_handler(fd);
  }

  // Python: ioloop_test.TestIOLoop.test_remove_without_add
  TEST_CASE("IOLoop.remove_handler: harmless when there is none (L23)") {
    test::Loop loop;
    auto [socket, port] = test::bind_unused_port();
    loop.remove_handler(socket.native_handle());
    loop.add_handler(
        socket.native_handle(), [](int, int) {}, IOLoop::READ);
    loop.remove_handler(socket.native_handle());
    loop.remove_handler(socket.native_handle());
    loop.remove_handler(-1);
  }

  // Python: ioloop_test.TestIOLoop.test_read_while_writeable
  TEST_CASE("IOLoop.add_handler: gets the events that it asked for, no others") {
    test::Loop loop;
    SocketPair pair;
    int seen = -1;
    loop.add_handler(
        pair.client(),
        [&](int fd, int events) {
          CHECK(fd == pair.client());
          seen = events;
          loop.stop();
        },
        IOLoop::READ);
    loop.add_timeout(10ms, [&] { send(pair.server(), "asdf"); });
    loop.wait();
    CHECK(seen == IOLoop::READ);
    loop.remove_handler(pair.client());
  }

  TEST_CASE("IOLoop.add_handler: events come combined, in one call") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    std::vector<int> seen;
    loop.add_handler(
        pair.client(),
        [&](int fd, int events) {
          seen.push_back(events);
          loop.remove_handler(fd);
          loop.stop();
        },
        IOLoop::READ | IOLoop::WRITE);
    loop.wait();
    CHECK(seen == std::vector{IOLoop::READ | IOLoop::WRITE});
  }

  TEST_CASE("IOLoop.add_handler: a hang-up comes unasked") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    int seen = 0;
    loop.add_handler(
        ends[0],
        [&](int fd, int events) {
          seen = events;
          loop.remove_handler(fd);
          loop.stop();
        },
        IOLoop::NONE);
    loop.add_callback([&] { ::close(ends[1]); });
    loop.wait();
    CHECK((seen & IOLoop::ERROR_EVENT) != 0);
    ::close(ends[0]);
  }

  TEST_CASE("IOLoop.add_handler: a closed reader is an error on the writing end of a pipe") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    int seen = 0;
    loop.add_handler(
        ends[1],
        [&](int fd, int events) {
          if ((events & IOLoop::ERROR) == 0) {
            ::close(ends[0]);
            return;
          }
          seen = events;
          loop.remove_handler(fd);
          loop.stop();
        },
        IOLoop::WRITE);
    loop.wait();
    CHECK((seen & IOLoop::ERROR) != 0);
    ::close(ends[1]);
  }

  TEST_CASE("IOLoop.add_handler: calls again while data is unread (L24)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "abcde");
    std::string text;
    int calls = 0;
    loop.add_handler(
        pair.client(),
        [&](int fd, int) {
          if (++calls <= 3) return;  // leaves everything unread
          text += receive(fd, 1);
          if (text.size() == 5) loop.stop();
        },
        IOLoop::READ);
    loop.wait();
    CHECK(text == "abcde");
    CHECK(calls == 8);
    loop.remove_handler(pair.client());
  }

  TEST_CASE("IOLoop.add_handler: others get their turn between two calls (L24)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    int calls = 0;
    loop.add_handler(
        pair.client(), [&](int, int) { ++calls; }, IOLoop::READ);
    loop.iterate(10);
    CHECK(calls > 0);
    CHECK(calls <= 20);
    bool timeout_ran = false;
    loop.call_later(1ms, [&] {
      timeout_ran = true;
      loop.stop();
    });
    loop.wait();
    CHECK(timeout_ran);
  }

  TEST_CASE("IOLoop.update_handler: changes what is waited for") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    std::vector<int> seen;
    loop.add_handler(
        pair.client(),
        [&](int fd, int events) {
          seen.push_back(events);
          if (seen.size() == 1) {
            loop.update_handler(fd, IOLoop::WRITE);
          } else if (seen.size() == 2) {
            loop.update_handler(fd, IOLoop::NONE);
            loop.call_later(1ms, [&] { loop.stop(); });
          }
        },
        IOLoop::READ);
    loop.wait();
    CHECK(seen == std::vector{IOLoop::READ, IOLoop::WRITE});
    CHECK_THROWS_WITH_AS(loop.update_handler(pair.server(), IOLoop::READ),
                         doctest::Contains("has no handler"), std::invalid_argument);
    loop.remove_handler(pair.client());
    CHECK_THROWS_AS(loop.update_handler(pair.client(), IOLoop::READ), std::invalid_argument);
  }

  // Python: ioloop_test.TestIOLoop.test_remove_handler_from_handler
  TEST_CASE("IOLoop.remove_handler: from another handler, of one with an event at hand (L22)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.client(), "abc");
    send(pair.server(), "abc");
    std::vector<std::string> chunks;
    const auto handle_read = [&](int fd, int) {
      chunks.push_back(receive(fd));
      loop.remove_handler(fd == pair.client() ? pair.server() : pair.client());
    };
    loop.add_handler(pair.client(), handle_read, IOLoop::READ);
    loop.add_handler(pair.server(), handle_read, IOLoop::READ);
    loop.run_until([&] { return !chunks.empty(); });
    loop.iterate(5);
    CHECK(chunks == std::vector<std::string>{"abc"});
  }

  TEST_CASE(
      "IOLoop.remove_handler: one replaced in the same batch does not get the old event (L22)") {
    test::Loop loop;
    SocketPair pair;
    send(pair.client(), "abc");
    send(pair.server(), "abc");
    int first_kind = 0;
    std::vector<int> second_kind;
    const auto second = [&](int fd, int events) {
      second_kind.push_back(events);
      loop.remove_handler(fd);
    };
    const auto first = [&](int fd, int) {
      ++first_kind;
      const int other = fd == pair.client() ? pair.server() : pair.client();
      loop.remove_handler(fd);
      loop.remove_handler(other);
      loop.add_handler(other, second, IOLoop::WRITE);
    };
    loop.add_handler(pair.client(), first, IOLoop::READ);
    loop.add_handler(pair.server(), first, IOLoop::READ);
    loop.run_until([&] { return !second_kind.empty(); });
    loop.iterate(5);
    CHECK(first_kind == 1);
    CHECK(second_kind == std::vector{IOLoop::WRITE});
  }

  TEST_CASE("IOLoop.remove_handler: a handler may remove itself, and lives until it returns") {
    test::Loop loop;
    SocketPair pair;
    send(pair.server(), "x");
    std::string seen;
    bool destroyed = false;
    loop.add_handler(
        pair.client(),
        [&, text = std::string(100, 'x'), end = at_end([&] { destroyed = true; })](int fd, int) {
          loop.remove_handler(fd);
          seen = text;
          CHECK_FALSE(destroyed);
          loop.stop();
        },
        IOLoop::READ);
    loop.wait();
    CHECK(seen == std::string(100, 'x'));
    CHECK(destroyed);
  }

  TEST_CASE(
      "IOLoop.add_handler: what cannot be polled, and what is no handler, is an error (L26)") {
    test::Loop loop;
    const auto ignore = [](int, int) {};
    const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    try {
      loop.add_handler(file, ignore, IOLoop::READ);
      FAIL_CHECK("a regular file was accepted");
    } catch (const std::system_error& e) {
      CHECK(e.code() == std::errc::operation_not_permitted);
      const std::string what = e.what();
      CHECK(what.find("fd " + std::to_string(file)) != what.npos);
      CHECK(what.find("cannot be polled") != what.npos);
    }
    ::close(file);
    try {
      loop.add_handler(file, ignore, IOLoop::READ);
      FAIL_CHECK("a closed descriptor was accepted");
    } catch (const std::system_error& e) {
      CHECK(e.code() == std::errc::bad_file_descriptor);
    }
    CHECK_THROWS_AS(loop.add_handler(-1, ignore, IOLoop::READ), std::system_error);
    SocketPair pair;
    CHECK_THROWS_AS(loop.add_handler(pair.client(), {}, IOLoop::READ), std::invalid_argument);
    loop.add_handler(pair.client(), ignore, IOLoop::READ);  // nothing of it was kept
    loop.remove_handler(pair.client());
  }

  TEST_CASE(
      "IOLoop.add_handler: a closed descriptor's handler never sees the number's new owner (L25)") {
    test::Loop loop;
    SocketPair pair;
    bool stale = false;
    const int number = pair.client();
    const int duplicate = ::dup(number);  // keeps the old one in the system's set
    loop.add_handler(
        number, [&](int, int) { stale = true; }, IOLoop::READ);
    loop.remove_handler(number);
    pair.close_client();
    SocketPair other;
    REQUIRE(::dup2(other.client(), number) == number);
    send(other.server(), "new");
    send(pair.server(), "old");
    std::string text;
    loop.add_handler(
        number,
        [&](int fd, int) {
          text += receive(fd);
          if (text.size() >= 3) loop.stop();
        },
        IOLoop::READ);
    loop.wait();
    CHECK(text == "new");
    CHECK_FALSE(stale);
    loop.remove_handler(number);
    ::close(number);
    ::close(duplicate);
  }

  TEST_CASE(
      "IOLoop.add_handler: closed before it was removed, while a copy lives, it does no harm (L25)") {
    test::Loop loop;
    SocketPair pair;
    const int number = pair.client();
    const int duplicate = ::dup(number);
    bool stale = false;
    loop.add_handler(
        number, [&](int, int) { stale = true; }, IOLoop::READ);
    pair.close_client();
    loop.remove_handler(number);  // too late for the system: the copy keeps it in the set
    send(pair.server(), "old");
    SocketPair other;
    std::string text;
    loop.add_handler(
        other.client(),
        [&](int fd, int) {
          text += receive(fd);
          loop.stop();
        },
        IOLoop::READ);
    loop.call_later(5ms, [&] { send(other.server(), "new"); });
    loop.wait();
    CHECK(text == "new");
    CHECK_FALSE(stale);
    loop.call_later(50ms, [&] { loop.stop(); });
    const auto used = thread_time();
    loop.wait();
    CHECK(thread_time() - used < 20ms);  // nor does it keep the loop awake
    loop.remove_handler(other.client());
    ::close(duplicate);
  }

  TEST_CASE("IOLoop.add_handler: leaves the descriptor's flags alone") {
    test::Loop loop;
    SocketPair pair;
    const int before = ::fcntl(pair.client(), F_GETFL);
    send(pair.server(), "x");
    loop.add_handler(
        pair.client(), [&](int, int) { loop.stop(); }, IOLoop::READ | IOLoop::WRITE);
    loop.wait();
    CHECK((before & O_NONBLOCK) == 0);
    CHECK(::fcntl(pair.client(), F_GETFL) == before);
    loop.remove_handler(pair.client());
    CHECK(::fcntl(pair.client(), F_GETFL) == before);
  }

  TEST_CASE("IOLoop.add_handler: hundreds of descriptors in one loop") {
    test::Loop loop;
    std::vector<std::unique_ptr<SocketPair>> pairs;
    std::map<int, int> calls;
    for (int i = 0; i < 300; ++i) {
      pairs.push_back(std::make_unique<SocketPair>());
      loop.add_handler(
          pairs.back()->client(),
          [&](int fd, int) {
            receive(fd);
            ++calls[fd];
            if (calls.size() == 300) loop.stop();
          },
          IOLoop::READ);
      send(pairs.back()->server(), "x");
    }
    loop.wait();
    for (const auto& [fd, count] : calls) CHECK(count == 1);
    for (const auto& pair : pairs) loop.remove_handler(pair->client());
  }

  TEST_CASE("IOLoop.close: closes the descriptors only when asked to (L21)") {
    SocketPair pair;
    {
      test::Loop loop;
      loop.add_handler(
          pair.client(), [](int, int) {}, IOLoop::READ);
      loop.close();
    }
    CHECK(::fcntl(pair.client(), F_GETFD) >= 0);

    const int client = ::dup(pair.client());
    const int server = ::dup(pair.server());
    bool destroyed = false;
    test::Loop loop;
    loop.add_handler(
        client, [](int, int) {}, IOLoop::READ);
    // A handler that takes others with it, as one that owns their sockets does.
    loop.add_handler(
        server, [end = at_end([&] {
                   destroyed = true;
                   loop.remove_handler(client);
                   loop.remove_handler(server);
                 })](int, int) {},
        IOLoop::READ);
    loop.close(true);
    CHECK(destroyed);
    CHECK(::fcntl(server, F_GETFD) < 0);
    if (::fcntl(client, F_GETFD) >= 0) ::close(client);  // it was removed: no longer the loop's
  }
}
