// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/ioloop.hpp>, and for those of <tornado/util.hpp> that go
// with them; docs/reference/ioloop.md quotes them.
#include <tornado/submit.hpp>
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace tornado;

void current() {
  IOLoop& io_loop = IOLoop::current();  // made on first use
  fmt::print("{}\n", &io_loop == &IOLoop::instance());
  std::thread([] {
    fmt::print("in a new thread: {}\n", IOLoop::current_or_null() == nullptr ? "none" : "one");
    IOLoop own;  // becomes this thread's
    fmt::print("now: {}\n", &own == &IOLoop::current());
  }).join();
}

void not_current() {
  IOLoop other(IOLoop::MakeCurrent::never);
  fmt::print("{}\n", &other == &IOLoop::current());
  other.add_callback([&] {
    fmt::print("while it runs: {}\n", &other == &IOLoop::current());
    other.stop();
  });
  other.start();
}

void start_and_stop(IOLoop& io_loop) {
  io_loop.add_callback([&io_loop] {
    fmt::print("running\n");
    io_loop.stop();
    fmt::print("until the callbacks of this iteration have run\n");
  });
  io_loop.start();
}

void exceptions(IOLoop& io_loop) {
  io_loop.set_exception_handler(
      [](const std::exception_ptr& error) { fmt::print("{}\n", log::describe(error)); });
  io_loop.add_callback([&io_loop] { io_loop.start(); });
  io_loop.add_callback([&io_loop] { io_loop.stop(); });
  io_loop.start();
  io_loop.set_exception_handler({});
}

Future<int> count_to(int last) {
  for (int i = 1; i < last; ++i) co_await gen::sleep(1ms);
  co_return last;
}

void run_sync(IOLoop& io_loop) {
  const int last = io_loop.run_sync([] { return count_to(3); });
  fmt::print("{}\n", last);
  try {
    io_loop.run_sync([] { return gen::sleep(1h); }, 10ms);
  } catch (const TimeoutError& error) {
    fmt::print("{}\n", error.what());
  }
}

void close() {
  IOLoop io_loop(IOLoop::MakeCurrent::never);
  auto captured = std::make_shared<int>(1);
  io_loop.call_later(1h, [captured] { fmt::print("does not run\n"); });
  io_loop.close();
  fmt::print("held by {}\n", captured.use_count());
  io_loop.add_callback([] { fmt::print("does not run\n"); });  // a closed loop ignores it
}

void add_callback(IOLoop& io_loop) {
  io_loop.add_callback([&io_loop] {
    io_loop.add_callback(
        [&io_loop](std::string_view word) {
          fmt::print("{}\n", word);
          io_loop.stop();
        },
        "in the next iteration");
    fmt::print("in this one\n");
  });
  io_loop.start();
}

void from_a_thread(IOLoop& io_loop) {
  std::thread thread([&io_loop] {
    io_loop.add_callback([&io_loop] {
      fmt::print("on the loop's thread\n");
      io_loop.stop();
    });
  });
  io_loop.start();
  thread.join();
}

void submit(IOLoop& io_loop) {
  std::thread thread([&io_loop] {
    std::future<int> answer = io_loop.submit(count_to, 5);
    fmt::print("{}\n", answer.get());  // blocks this thread, which has no loop
    io_loop.add_callback([&io_loop] { io_loop.stop(); });
  });
  io_loop.start();
  thread.join();
}

void add_future(IOLoop& io_loop) {
  io_loop.add_future(count_to(4), [&io_loop](const Future<int>& future) {
    fmt::print("{}\n", future.result());
    io_loop.stop();
  });
  io_loop.start();
}

void timeouts(IOLoop& io_loop) {
  io_loop.call_at(io_loop.time() + 0.01, [] { fmt::print("after 10 ms\n"); });
  const Timeout never = io_loop.add_timeout(15ms, [] { fmt::print("not printed\n"); });
  io_loop.call_later(20ms, [] { fmt::print("after 20 ms\n"); });
  io_loop.call_later(0.03, [&io_loop] {
    fmt::print("after 30 ms\n");
    io_loop.stop();
  });
  io_loop.remove_timeout(never);
  io_loop.start();
}

void periodic(IOLoop& io_loop) {
  int calls = 0;
  PeriodicCallback beat(
      [&io_loop, &calls] {
        fmt::print("call {}\n", ++calls);
        if (calls == 3) io_loop.stop();
      },
      5ms);
  beat.start();
  io_loop.start();
  beat.stop();
  fmt::print("{}\n", beat.is_running());
}

void periodic_coroutine(IOLoop& io_loop) {
  int ended = 0;
  PeriodicCallback poll(
      [&io_loop, &ended]() -> Future<void> {
        co_await gen::sleep(12ms);  // longer than the period: ticks are left out
        if (++ended == 2) io_loop.stop();
      },
      5ms, 0.1);  // up to 5 % early or late
  poll.start();
  io_loop.start();
  fmt::print("{}\n", ended);
}

void signals(IOLoop& io_loop) {
  io_loop.add_signal_handler(SIGTERM, [&io_loop](int signo) {
    fmt::print("SIGTERM: {}\n", signo == SIGTERM);
    io_loop.stop();
  });
  ::kill(::getpid(), SIGTERM);
  io_loop.start();
  fmt::print("{}\n", io_loop.remove_signal_handler(SIGTERM));
  fmt::print("{}\n", io_loop.remove_signal_handler(SIGTERM));
}

IOLoop* main_loop = nullptr;

extern "C" void on_usr1(int) {
  main_loop->add_callback_from_signal([](void*) {
    fmt::print("SIGUSR1\n");
    main_loop->stop();
  });
}

void from_signal(IOLoop& io_loop) {
  main_loop = &io_loop;
  std::signal(SIGUSR1, on_usr1);
  ::raise(SIGUSR1);
  io_loop.start();
  std::signal(SIGUSR1, SIG_DFL);
}

long slow_sum(int last) {
  long sum = 0;
  for (int i = 1; i <= last; ++i) sum += i;
  return sum;
}

Future<void> executor() {
  IOLoop& io_loop = IOLoop::current();
  const long sum = co_await io_loop.run_in_executor(nullptr, slow_sum, 1000);
  fmt::print("{}\n", sum);
  io_loop.set_default_executor(std::make_shared<ThreadPoolExecutor>(2));
  const long other = co_await io_loop.run_in_executor(nullptr, slow_sum, 10);
  fmt::print("{}\n", other);
}

void handlers(IOLoop& io_loop) {
  int ends[2];
  if (::pipe(ends) != 0) return;
  io_loop.add_handler(
      ends[0],
      [&io_loop](int fd, int events) {
        char byte = 0;
        if (::read(fd, &byte, 1) == 1) fmt::print("{}", byte);
        if ((events & IOLoop::ERROR) != 0 && byte == 0) {
          fmt::print("the other end was closed\n");
          io_loop.remove_handler(fd);
          io_loop.stop();
        }
      },
      IOLoop::READ);
  io_loop.add_callback([&ends] {
    if (::write(ends[1], "hello\n", 6) == 6) ::close(ends[1]);
  });
  io_loop.start();
  ::close(ends[0]);
}

void object_handlers(IOLoop& io_loop) {
  Socket server = Socket::tcp(AF_INET);
  server.bind(Address("127.0.0.1", 0));
  server.listen();
  io_loop.add_handler(
      server,
      [&io_loop](Socket& socket, int) {
        const auto accepted = socket.accept();
        fmt::print("from {}\n", accepted->second.host());
        io_loop.stop();
      },
      IOLoop::READ);
  const Future<IOStream> client = TCPClient().connect("127.0.0.1", server.local_address().port());
  io_loop.start();
  io_loop.update_handler(server, IOLoop::NONE);
  io_loop.remove_handler(server);
  IOLoop::close_fd(server);
}

void handler_errors(IOLoop& io_loop) {
  try {
    io_loop.add_handler(
        -1, [](int, int) {}, IOLoop::READ);
  } catch (const std::system_error& error) {
    fmt::print("{}\n", error.code() == std::errc::bad_file_descriptor);
  }
  try {
    io_loop.update_handler(0, IOLoop::READ);
  } catch (const std::invalid_argument& error) {
    fmt::print("{}\n", error.what());
  }
}

void configure() {
  const std::string_view name = IOLoop::configured_class();
  fmt::print("{}\n", name == "epoll" || name == "select" || name == "io_uring");
  IOLoop::configure(name);
  try {
    IOLoop::configure("trollius");
  } catch (const std::invalid_argument&) {
    fmt::print("there is no such reactor\n");
  }
}

class Codec : public util::Configurable<Codec, int> {  // is made from an int
 public:
  virtual ~Codec() = default;
  virtual std::string name() const = 0;
  static std::string_view configurable_default() { return "plain"; }
};

class PlainCodec : public Codec {
 public:
  explicit PlainCodec(int) {}
  std::string name() const override { return "plain"; }
};

class ZipCodec : public Codec {
 public:
  explicit ZipCodec(int level) : level_(level) {}
  std::string name() const override { return fmt::format("zip {}", level_); }

 private:
  int level_;
};

void configurable() {
  Codec::register_implementation<PlainCodec>("plain");
  Codec::register_implementation<ZipCodec>("zip");
  fmt::print("{}\n", Codec::create(9)->name());
  Codec::configure("zip");
  fmt::print("{}\n", Codec::create(9)->name());
  Codec::configure("zip", [](int) { return std::make_unique<ZipCodec>(1); });
  fmt::print("{}\n", Codec::create(9)->name());
  Codec::configure(nullptr);
  fmt::print("{}\n", Codec::configured_class());
}

void util_functions() {
  fmt::print("{}\n", util::timedelta_to_seconds(1500ms));
  fmt::print("{}\n", util::re_unescape("index\\.html"));
  const auto error =
      std::make_exception_ptr(std::system_error(ECONNREFUSED, std::system_category(), "connect"));
  fmt::print("{}\n", util::errno_from_exception(error) == ECONNREFUSED);
  try {
    util::raise_exc_info(error);
  } catch (const std::system_error&) {
    fmt::print("{}\n", version_info[0] == TORNADO_VERSION_MAJOR);
  }
}

int main() {
  IOLoop& io_loop = IOLoop::current();
  current();
  not_current();
  start_and_stop(io_loop);
  exceptions(io_loop);
  run_sync(io_loop);
  close();
  add_callback(io_loop);
  from_a_thread(io_loop);
  submit(io_loop);
  add_future(io_loop);
  timeouts(io_loop);
  periodic(io_loop);
  periodic_coroutine(io_loop);
  signals(io_loop);
  from_signal(io_loop);
  io_loop.run_sync(executor);
  handlers(io_loop);
  object_handlers(io_loop);
  handler_errors(io_loop);
  configure();
  configurable();
  util_functions();
}
