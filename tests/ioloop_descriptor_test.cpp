// SPDX-License-Identifier: Apache-2.0
//
// Descriptors of all kinds under add_handler, and objects that have one.
#include "ioloop_support.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/netutil.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::at_end;
using test::send;
using test::SocketPair;

namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) { REQUIRE(fd >= 0); }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return fd_; }

 private:
  int fd_;
};

std::string read_some(int fd) {
  std::array<char, 4096> buffer;
  const ssize_t size = ::read(fd, buffer.data(), buffer.size());
  return {buffer.data(), static_cast<std::size_t>(size < 0 ? 0 : size)};
}

// Runs `loop` until `fd` can be read, and returns what it has. Nothing may be there before `make`,
// and its flags stay as they are.
template <class F>
std::string read_after(test::Loop& loop, int fd, F make) {
  const int flags = ::fcntl(fd, F_GETFL);
  std::string text;
  int calls = 0;
  loop.add_handler(
      fd,
      [&](int ready, int events) {
        CHECK(ready == fd);
        CHECK((events & IOLoop::READ) != 0);
        ++calls;
        text = read_some(fd);
        loop.stop();
      },
      IOLoop::READ);
  loop.iterate(3);
  CHECK(calls == 0);
  loop.add_callback(make);
  loop.wait();
  CHECK(::fcntl(fd, F_GETFL) == flags);
  loop.remove_handler(fd);
  CHECK(::fcntl(fd, F_GETFL) == flags);
  return text;
}

// What test_close_file_object calls a SocketWrapper.
class Wrapper {
 public:
  explicit Wrapper(Socket socket) : socket_(std::move(socket)) {}
  native_handle_type native_handle() const { return socket_.native_handle(); }
  void close() {
    ++closed;
    socket_.close();
  }
  int closed = 0;

 private:
  Socket socket_;
};

// Connects to `port`, so that the listening socket there is readable.
Socket connect_to(std::uint16_t port) {
  Socket client = Socket::tcp(AF_INET);
  const Address address("127.0.0.1", port);
  static_cast<void>(::connect(client.native_handle(), static_cast<const sockaddr*>(address.data()),
                              static_cast<socklen_t>(address.size())));
  return client;
}

}  // namespace

TEST_SUITE("ioloop") {
  // ---- Objects --------------------------------------------------------------------------------

  // Python: ioloop_test.TestIOLoop.test_close_file_object
  TEST_CASE("IOLoop.close: closes an object that has a handler, not only its descriptor (L21)") {
    Wrapper kept(test::bind_unused_port().first);
    {
      test::Loop loop;
      loop.add_handler(
          kept, [](Wrapper&, int) {}, IOLoop::READ);
      loop.close();
    }
    CHECK(kept.closed == 0);
    CHECK(::fcntl(kept.native_handle(), F_GETFD) >= 0);

    Wrapper closed(test::bind_unused_port().first);
    const int number = closed.native_handle();
    test::Loop loop;
    loop.add_handler(
        closed, [](Wrapper&, int) {}, IOLoop::READ);
    loop.close(true);
    CHECK(closed.closed == 1);
    CHECK(::fcntl(number, F_GETFD) < 0);
  }

  // Python: ioloop_test.TestIOLoop.test_handler_callback_file_object
  TEST_CASE("IOLoop.add_handler: the handler gets the object, or the descriptor, that was added") {
    test::Loop loop;
    auto [server, port] = test::bind_unused_port();
    Socket* got_object = nullptr;
    loop.add_handler(
        server,
        [&](Socket& object, int events) {
          CHECK(events == IOLoop::READ);
          got_object = &object;
          CHECK(object.accept());
          loop.stop();
        },
        IOLoop::READ);
    const Socket first = connect_to(port);
    loop.wait();
    CHECK(got_object == &server);
    loop.remove_handler(server);

    int got_number = -1;
    loop.add_handler(
        server.native_handle(),
        [&, &listener = server](int fd, int) {
          got_number = fd;
          CHECK(listener.accept());
          loop.stop();
        },
        IOLoop::READ);
    const Socket second = connect_to(port);
    loop.wait();
    CHECK(got_number == server.native_handle());
    loop.remove_handler(server.native_handle());
  }

  // Python: ioloop_test.TestIOLoop.test_mixed_fd_fileobj
  TEST_CASE("IOLoop.add_handler: object and descriptor are one, for adding and for removing") {
    test::Loop loop;
    auto [server, port] = test::bind_unused_port();
    loop.add_handler(
        server, [](Socket&, int) {}, IOLoop::READ);
    CHECK_THROWS_AS(loop.add_handler(
                        server.native_handle(), [](int, int) {}, IOLoop::READ),
                    std::invalid_argument);
    loop.remove_handler(server.native_handle());
    loop.add_handler(
        server.native_handle(), [](int, int) {}, IOLoop::READ);
    CHECK_THROWS_AS(loop.add_handler(
                        server, [](Socket&, int) {}, IOLoop::READ),
                    std::invalid_argument);
    loop.update_handler(server, IOLoop::WRITE);
    loop.remove_handler(server);
    loop.remove_handler(server);
    CHECK_THROWS_AS(loop.update_handler(server, IOLoop::READ), std::invalid_argument);
  }

  TEST_CASE("IOLoop.split_fd, IOLoop.close_fd: take both kinds") {
    auto [socket, port] = test::bind_unused_port();
    const auto [fd, object] = IOLoop::split_fd(socket);
    CHECK(fd == socket.native_handle());
    CHECK(&object == &socket);
    const auto [number, same] = IOLoop::split_fd(fd);
    CHECK(number == fd);
    CHECK(same == fd);
    IOLoop::close_fd(socket);
    CHECK_FALSE(socket.is_open());
    CHECK(::fcntl(fd, F_GETFD) < 0);
    const int other = ::dup(STDERR_FILENO);
    IOLoop::close_fd(other);
    CHECK(::fcntl(other, F_GETFD) < 0);
    IOLoop::close_fd(other);  // says nothing
  }

  TEST_CASE("IOLoop.close: with all descriptors, while handlers go that remove others (L21)") {
    test::Loop loop;
    std::vector<std::unique_ptr<SocketPair>> pairs;
    std::vector<int> fds;
    for (int i = 0; i < 20; ++i) {
      pairs.push_back(std::make_unique<SocketPair>());
      fds.push_back(::dup(pairs.back()->client()));
    }
    for (std::size_t i = 0; i < fds.size(); ++i) {
      // Takes its neighbour with it, which is then no longer the loop's to close.
      loop.add_handler(
          fds[i],
          [end = at_end([&, i] { loop.remove_handler(fds[(i + 1) % fds.size()]); })](int, int) {},
          IOLoop::READ);
    }
    loop.close(true);
    int closed = 0;
    for (const int fd : fds) {
      if (::fcntl(fd, F_GETFD) < 0) {
        ++closed;
      } else {
        ::close(fd);
      }
    }
    CHECK(closed >= 1);
  }

  // ---- Kinds of descriptors -------------------------------------------------------------------

  TEST_CASE("IOLoop.add_handler: pipes and fifos") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const Descriptor reader(ends[0]);
    const Descriptor writer(ends[1]);
    CHECK(read_after(loop, reader, [&] { CHECK(::write(writer, "pipe", 4) == 4); }) == "pipe");

    const std::string name =
        (std::filesystem::temp_directory_path() / ("tornado-" + std::to_string(::getpid())));
    REQUIRE(::mkfifo(name.c_str(), 0600) == 0);
    const Descriptor fifo(::open(name.c_str(), O_RDWR | O_CLOEXEC));
    ::unlink(name.c_str());
    CHECK(read_after(loop, fifo, [&] { CHECK(::write(fifo, "fifo", 4) == 4); }) == "fifo");
  }

  TEST_CASE("IOLoop.add_handler: a pseudo-terminal") {
    test::Loop loop;
    const Descriptor master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(::grantpt(master) == 0);
    REQUIRE(::unlockpt(master) == 0);
    char name[100];
    REQUIRE(::ptsname_r(master, name, sizeof name) == 0);
    const Descriptor slave(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    CHECK(read_after(loop, slave, [&] { CHECK(::write(master, "line\n", 5) == 5); }) == "line\n");
    CHECK(read_some(master) == "line\r\n");  // its echo
    CHECK(read_after(loop, master, [&] { CHECK(::write(slave, "answer", 6) == 6); }) == "answer");
  }

  TEST_CASE("IOLoop.add_handler: an eventfd and a timerfd") {
    test::Loop loop;
    const Descriptor event(::eventfd(0, EFD_CLOEXEC));
    CHECK(read_after(loop, event, [&] { CHECK(::eventfd_write(event, 7) == 0); })[0] == '\7');
    const Descriptor timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    const std::string expired = read_after(loop, timer, [&] {
      const itimerspec soon{{0, 0}, {0, 1000000}};
      CHECK(::timerfd_settime(timer, 0, &soon, nullptr) == 0);
    });
    CHECK(expired[0] == '\1');
  }

  TEST_CASE("IOLoop.add_handler: a signalfd") {
    test::Loop loop;
    sigset_t signals;
    sigset_t before;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGUSR2);
    REQUIRE(::pthread_sigmask(SIG_BLOCK, &signals, &before) == 0);
    {
      const Descriptor fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
      const std::string info = read_after(loop, fd, [] { ::raise(SIGUSR2); });
      CHECK(info.size() == sizeof(signalfd_siginfo));
      CHECK(info[0] == static_cast<char>(SIGUSR2));
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  TEST_CASE("IOLoop.add_handler: an inotify descriptor") {
    test::Loop loop;
    const auto folder =
        std::filesystem::temp_directory_path() / ("tornado-watched-" + std::to_string(::getpid()));
    std::filesystem::create_directory(folder);
    const Descriptor fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    REQUIRE(::inotify_add_watch(fd, folder.c_str(), IN_CREATE) >= 0);
    const std::string event =
        read_after(loop, fd, [&] { std::filesystem::create_directory(folder / "made"); });
    CHECK(event.find("made") != event.npos);
    std::filesystem::remove_all(folder);
  }

  TEST_CASE("IOLoop.remove_handler: leaves the descriptor's flags as they were") {
    test::Loop loop;
    for (const int flags : {0, O_NONBLOCK, O_NONBLOCK | O_ASYNC}) {
      SocketPair pair;
      const int plain = ::fcntl(pair.client(), F_GETFL);
      REQUIRE(::fcntl(pair.client(), F_SETFL, plain | flags) == 0);
      const int before = ::fcntl(pair.client(), F_GETFL);
      send(pair.server(), "x");
      loop.add_handler(
          pair.client(), [&](int, int) { loop.stop(); }, IOLoop::READ | IOLoop::WRITE);
      loop.wait();
      loop.update_handler(pair.client(), IOLoop::READ);
      loop.remove_handler(pair.client());
      CHECK(::fcntl(pair.client(), F_GETFL) == before);
      CHECK(::fcntl(pair.server(), F_GETFL) == plain);
    }
  }

  TEST_CASE("IOLoop.add_handler: ten thousand descriptors") {
    constexpr std::size_t count = 10000;
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < count + 100) {
      const rlimit before = limit;
      limit.rlim_cur = count + 100;
      if (limit.rlim_max < limit.rlim_cur || ::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        MESSAGE("skipped: a process may have ", before.rlim_max, " descriptors here");
        return;
      }
    }
    test::Loop loop;
    std::vector<std::unique_ptr<Descriptor>> descriptors;
    std::vector<int> calls(count);
    std::size_t called = 0;
    for (std::size_t i = 0; i < count; ++i) {
      descriptors.push_back(std::make_unique<Descriptor>(::eventfd(0, EFD_CLOEXEC)));
      loop.add_handler(
          *descriptors.back(),
          [&, i](int fd, int) {
            read_some(fd);
            ++calls[i];
            ++called;
          },
          IOLoop::READ);
    }
    loop.iterate(3);
    CHECK(called == 0);
    for (std::size_t i = 0; i < count; i += 2) ::eventfd_write(*descriptors[i], 1);
    loop.run_until([&] { return called >= count / 2; });
    for (std::size_t i = 0; i < count; ++i) ::eventfd_write(*descriptors[i], 1);
    loop.run_until([&] { return called >= count / 2 + count; });
    loop.iterate(3);
    bool right = true;
    for (std::size_t i = 0; i < count; ++i) right = right && calls[i] == (i % 2 == 0 ? 2 : 1);
    CHECK(right);
    for (std::size_t i = 0; i < count; i += 3) loop.remove_handler(*descriptors[i]);
  }

  // ---- Reuse of numbers -----------------------------------------------------------------------

  TEST_CASE("IOLoop.add_handler: thousands of times the same number, never a stale event (L25)") {
    test::Loop loop;
    int stale = 0;
    int right = 0;
    for (int i = 0; i < 2000; ++i) {
      int ends[2];
      REQUIRE(::pipe(ends) == 0);
      const char mark = static_cast<char>('a' + i % 26);
      REQUIRE(::write(ends[1], &mark, 1) == 1);
      loop.add_handler(
          ends[0],
          [&, mark](int fd, int) {
            const std::string text = read_some(fd);
            ++(text == std::string(1, mark) ? right : stale);
          },
          IOLoop::READ);
      if (i % 3 == 0) loop.iterate(2);
      loop.remove_handler(ends[0]);
      ::close(ends[0]);
      ::close(ends[1]);
    }
    CHECK(stale == 0);
    CHECK(right > 0);
  }

  TEST_CASE("IOLoop.stop, IOLoop.call_later: a closed loop's leave the next one's alone (L25)") {
    auto old = std::make_unique<test::Loop>();
    const Timeout timeout = old->call_later(1ms, [] { FAIL_CHECK("a closed loop's timeout ran"); });
    SocketPair pair;
    send(pair.server(), "x");
    old->add_handler(
        pair.client(), [](int, int) { FAIL_CHECK("a closed loop's handler ran"); }, IOLoop::READ);
    old->stop();
    old->close();
    test::Loop loop;  // has the numbers of the old one's descriptors
    old->stop();
    old->remove_handler(pair.client());
    int calls = 0;
    loop.add_handler(
        pair.client(), [&](int, int) { ++calls; }, IOLoop::READ);
    old->remove_handler(pair.client());
    old->remove_timeout(timeout);
    bool later = false;
    loop.call_later(3ms, [&] { later = true; });
    loop.run_until([&] { return later && calls > 0; });
    loop.remove_handler(pair.client());
  }
}
