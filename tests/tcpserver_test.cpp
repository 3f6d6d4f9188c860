// SPDX-License-Identifier: Apache-2.0
#include "tornado/tcpserver.hpp"

#include "server_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/log.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::connect_to;
using test::echo;
using test::echoed;
using test::mb;
using test::result;
using test::Server;
using test::some_iterations;
using test::Transport;
using test::wait_until;
using test::why_closed;

namespace {

// Writes its name to a list when it is destroyed.
class Mourner {
 public:
  Mourner(std::vector<std::string>& gone, std::string name) : gone_(gone), name_(std::move(name)) {}
  Mourner(const Mourner&) = delete;
  Mourner& operator=(const Mourner&) = delete;
  ~Mourner() { gone_.push_back(name_); }

 private:
  std::vector<std::string>& gone_;
  std::string name_;
};

using Names = std::vector<std::string>;

}  // namespace

TEST_SUITE("tcpserver") {
  // ---- listening

  TEST_CASE("TCPServer.listen: accepts, and says where") {
    test::Loop loop;
    Server server(echo);
    CHECK(server.addresses().empty());
    server.listen(0, "127.0.0.1");
    REQUIRE(server.addresses().size() == 1);
    CHECK(server.address().host() == "127.0.0.1");
    CHECK(server.address().port() != 0);
    CHECK(server.connections() == 0);
    const IOStream first = connect_to(loop, server.address());
    const IOStream second = connect_to(loop, server.address());
    CHECK(echoed(loop, first, "hello") == "hello\n");
    CHECK(echoed(loop, second, "world") == "world\n");
    CHECK(server.connections() == 2);
    first.close();
    wait_until(loop, [&] { return server.connections() == 1; });
  }

  TEST_CASE("TCPServer.listen: more than once") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    server.listen(0, "127.0.0.2");
    REQUIRE(server.addresses().size() == 2);
    for (const Address& address : server.addresses()) {
      CHECK(echoed(loop, connect_to(loop, address), address.str()) == address.str() + "\n");
    }
  }

  TEST_CASE("TCPServer.listen: a port in use is an error that names it, and changes nothing") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    try {
      server.listen(server.address().port(), "127.0.0.1");
      FAIL("it did not throw");
    } catch (const std::system_error& error) {
      CHECK(error.code() == std::errc::address_in_use);
      CHECK(std::string(error.what()).find(server.address().str()) != std::string::npos);
    }
    CHECK(server.addresses().size() == 1);
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.bind: listens without a loop, start accepts") {
    IOLoop::clear_current();
    Server server(echo);
    server.bind(0, "127.0.0.1");
    CHECK(IOLoop::current_or_null() == nullptr);
    const Address address = server.address();
    {
      test::Loop loop;
      const IOStream client = connect_to(loop, address);
      client.write("hello\n");
      loop.iterate(some_iterations);
      CHECK(server.connections() == 0);
      server.start();
      CHECK(server.address() == address);
      CHECK(result(loop, client.read_until("\n")) == "hello\n");
      server.start();  // nothing more to start
      CHECK(server.addresses().size() == 1);
      server.stop();
      server.close_all_connections();
    }
  }

  TEST_CASE("TCPServer.start: several processes are refused, with what to do instead (T14)") {
    test::Loop loop;
    Server server(echo);
    server.bind(0, "127.0.0.1");
    for (const int processes : {0, 2, -1}) {
      try {
        server.start(processes);
        FAIL("it did not throw");
      } catch (const std::invalid_argument& error) {
        const std::string what = error.what();
        CHECK(what.find(std::to_string(processes) + " processes") != what.npos);
        CHECK(what.find("reuse_port") != what.npos);
      }
    }
    server.start(1);
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.add_sockets: takes sockets that listen, of any family") {
    test::Loop loop;
    Server server(echo);
    server.add_sockets(netutil::bind_sockets(0, "127.0.0.1"));
    auto [socket, unix_address] = test::listen(Transport::local);
    server.add_socket(std::move(socket));
    REQUIRE(server.addresses().size() == 2);
    CHECK(server.addresses()[1] == unix_address);
    for (const Address& address : server.addresses()) {
      CHECK(echoed(loop, connect_to(loop, address), "hello") == "hello\n");
    }
  }

  TEST_CASE("TCPServer: a Unix socket with a file name") {
    test::Loop loop;
    const std::string path = "/tmp/tornado-asio-test-" + std::to_string(::getpid());
    Address peer("1.2.3.4", 5);
    Server server([&peer](IOStream stream, const Address& address) {
      peer = address;
      return echo(std::move(stream), address);
    });
    server.add_socket(netutil::bind_unix_socket(path));
    CHECK(server.address().str() == "unix:" + path);
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
    CHECK(peer.str() == "unix:");
    ::unlink(path.c_str());
  }

  // Python: tcpserver_test.TestMultiprocess.test_listen_single
  TEST_CASE("TCPServer.listen: in a process of its own, which ends without a word") {
    // As a sanity check, run the single-process version through this test harness too.
    int out[2];
    REQUIRE(::pipe(out) == 0);
    const test::Child child = test::run_in_child([&out] {
      test::Loop loop;
      loop.run([] {
        TCPServer server;
        server.listen(0, "127.0.0.1");
      });
      CHECK(::write(out[1], "012", 3) == 3);
    });
    ::close(out[1]);
    char buffer[10];
    const ssize_t size = ::read(out[0], buffer, sizeof buffer);
    ::close(out[0]);
    CHECK(child.succeeded());
    CHECK(std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(size, 0))) == "012");
    CHECK(child.text == "");
  }

  // ---- stop

  // Python: tcpserver_test.TCPServerTest.test_stop_twice
  TEST_CASE("TCPServer.stop: twice (T1)") {
    test::Loop loop;
    auto [sock, port] = test::bind_unused_port();
    TCPServer server;
    server.add_socket(std::move(sock));
    server.stop();
    server.stop();
    CHECK(server.addresses().empty());
  }

  TEST_CASE("TCPServer.stop: the second does not touch the new owner of the descriptor (T1)") {
    test::Loop loop;
    Server server(echo);
    auto [socket, address] = test::listen(Transport::tcp);
    const int fd = socket.native_handle();
    server.add_socket(std::move(socket));
    server.stop();
    Server stranger(echo);
    auto [reused, other_address] = test::listen(Transport::tcp);
    CHECK(reused.native_handle() == fd);
    stranger.add_socket(std::move(reused));
    server.stop();
    CHECK(echoed(loop, connect_to(loop, stranger.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.stop: refuses new connections, and those that there are go on") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    server.bind(0, "127.0.0.1");
    const auto addresses = server.addresses();
    const IOStream client = connect_to(loop, addresses[0]);
    CHECK(echoed(loop, client, "before") == "before\n");
    server.stop();
    CHECK(server.addresses().empty());
    for (const Address& address : addresses) {
      CHECK(why_closed(loop, IOStream(Socket::tcp(AF_INET)).connect(address)) ==
            std::errc::connection_refused);
    }
    CHECK(echoed(loop, client, "after") == "after\n");
    CHECK(server.connections() == 1);
    server.listen(0, "127.0.0.1");
    CHECK(echoed(loop, connect_to(loop, server.address()), "again") == "again\n");
  }

  // Python: tcpserver_test.TCPServerTest.test_stop_in_callback
  TEST_CASE("TCPServer.stop: inside a handler, with other connections waiting (T2)") {
    // Issue #2069: calling server.stop() in a loop callback should not raise EBADF when the loop
    // handles other server connection requests in the same loop iteration
    test::Loop loop;
    Server* self = nullptr;
    int handled = 0;
    Server server([&](IOStream stream, Address) -> Future<void> {
      ++handled;
      self->stop();
      co_await stream.read_until_close();
    });
    self = &server;
    server.listen(0, "127.0.0.1");
    const Address server_addr = server.address();
    std::vector<IOStream> clients;
    std::vector<Future<IOStream>> connects;
    for (int i = 0; i < 40; ++i) {
      clients.emplace_back(Socket::tcp(AF_INET));
      connects.push_back(clients.back().connect(server_addr));
    }
    wait_until(loop, [&] {
      return std::all_of(connects.begin(), connects.end(), [](const auto& c) { return c.done(); });
    });
    // As in Python, connects may fail, but not all of them.
    const auto connected = std::count_if(connects.begin(), connects.end(), [](const auto& connect) {
      return connect.exception() == nullptr;
    });
    CHECK_MESSAGE(connected > 0, "all clients failed connecting");
    CHECK(handled == 1);
    clients.clear();
    connects.clear();
    wait_until(loop, [&] { return server.connections() == 0; });
  }

  TEST_CASE("TCPServer: a connection that waits when the server goes is closed") {
    test::Loop loop;
    const int before = test::open_descriptors();
    {
      auto server = std::make_unique<Server>(echo);
      server->listen(0, "127.0.0.1");
      const auto connected = IOStream(Socket::tcp(AF_INET)).connect(server->address());
      server.reset();
      try {
        const IOStream client = result(loop, connected);
        CHECK_THROWS_AS(result(loop, client.read_bytes(1)), StreamClosedError);
      } catch (const StreamClosedError&) {
      }
    }
    loop.iterate(2);
    CHECK(test::open_descriptors() <= before + 1);  // the loop's set of handlers
  }

  // ---- handle_stream

  // Python: tcpserver_test.TCPServerTest.test_handle_stream_coroutine_logging
  TEST_CASE("TCPServer.handle_stream: a coroutine's failure is logged (T3)") {
    // handle_stream may be a coroutine and any exception in its Future will be logged.
    test::Loop loop;
    Server server([](IOStream stream, Address) -> Future<void> {
      co_await stream.read_bytes(5);
      stream.close();
      throw std::domain_error("1 / 0");
    });
    server.listen(0, "127.0.0.1");
    const IOStream client(Socket::tcp(AF_INET));
    // Python says "Exception in callback".
    const test::ExpectLog expected(log::app_log, "Error in handle_stream of 127.0.0.1:");
    result(loop, client.connect(server.address()));
    result(loop, client.write("hello"));
    result(loop, client.read_until_close());
    loop.iterate(2);
    CHECK(expected.count() == 1);
  }

  // Python: tcpserver_test.TCPServerTest.test_handle_stream_native_coroutine
  TEST_CASE("TCPServer.handle_stream: a coroutine that never suspends") {
    test::Loop loop;
    Server server([](IOStream stream, Address) -> Future<void> {
      stream.write("data");
      stream.close();
      co_return;
    });
    server.listen(0, "127.0.0.1");
    const IOStream client(Socket::tcp(AF_INET));
    result(loop, client.connect(server.address()));
    CHECK(result(loop, client.read_until_close()) == "data");
    server.stop();
    CHECK(server.connections() == 0);
  }

  TEST_CASE("TCPServer.handle_stream: may fail at any point, and the server goes on (T3)") {
    test::Loop loop;
    int number = 0;
    Server server([&](IOStream stream, const Address& address) -> Future<void> {
      if (++number == 1) throw std::runtime_error("no coroutine yet");
      if (number == 2) {
        return [](IOStream) -> Future<void> {
          throw std::runtime_error("before the first suspension");
          co_return;
        }(std::move(stream));
      }
      if (number == 3) {
        return [](IOStream) -> Future<void> {
          co_await gen::moment;
          throw std::runtime_error("after the first suspension");
        }(std::move(stream));
      }
      if (number == 4) return make_exception_future(std::make_exception_ptr(42));
      return echo(std::move(stream), address);
    });
    server.listen(0, "127.0.0.1");
    const char* const messages[] = {"no coroutine yet", "before the first suspension",
                                    "after the first suspension", "int"};
    for (const char* message : messages) {
      CAPTURE(message);
      const test::ExpectLog expected(log::app_log, message);
      const IOStream client = connect_to(loop, server.address());
      CHECK(result(loop, client.read_until_close()) == "");
      loop.iterate(2);
      CHECK(expected.count() == 1);
      CHECK(server.connections() == 0);
    }
    CHECK(echoed(loop, connect_to(loop, server.address()), "hello") == "hello\n");
  }

  TEST_CASE("TCPServer.handle_stream: the log line says who was connected") {
    test::Loop loop;
    Server server([](IOStream, Address) -> Future<void> {
      co_await gen::moment;
      throw std::runtime_error("something");
    });
    server.listen(0, "127.0.0.1");
    const IOStream client(Socket::tcp(AF_INET));
    client.connect(server.address());
    const test::ExpectLog expected(log::app_log, "Error in handle_stream of " +
                                                     client.local_address().str() +
                                                     ": std::runtime_error: something");
    wait_until(loop, [&] { return expected.count() == 1; });
  }

  TEST_CASE("TCPServer.handle_stream: has to be overridden") {
    test::Loop loop;
    TCPServer server;
    server.listen(0, "127.0.0.1");
    const test::ExpectLog expected(log::app_log, "handle_stream has to be overridden");
    const IOStream client = connect_to(loop, server.addresses().front());
    CHECK(result(loop, client.read_until_close()) == "");
  }

  TEST_CASE("TCPServer.handle_stream: is kept alive, also when it is no coroutine (T3)") {
    test::Loop loop;
    Names gone;
    std::optional<Future<void>> pending;
    Server server([&](IOStream stream, Address) -> Future<void> {
      pending.emplace();
      pending->add_done_callback([stream, mourner = std::make_shared<Mourner>(gone, "callback")] {
        stream.write("done");
      });
      return *pending;
    });
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    wait_until(loop, [&] { return pending.has_value(); });
    loop.iterate(5);
    CHECK(server.connections() == 1);
    CHECK(gone.empty());
    pending->set_result();
    CHECK(result(loop, client.read_until_close()) == "done");
    CHECK(server.connections() == 0);
    CHECK(gone == Names{"callback"});
  }

  TEST_CASE("TCPServer.handle_stream: when it ends, the stream closes after what was written") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const std::string sent = test::pattern(5 * mb);
      Server server([&sent](IOStream stream, Address) -> Future<void> {
        stream.write(sent);
        co_return;
      });
      auto [socket, address] = test::listen(transport);
      server.add_socket(std::move(socket));
      const IOStream client = connect_to(loop, address);
      CHECK((result(loop, client.read_until_close()) == sent));
      CHECK_FALSE(client.error());
    }
  }

  TEST_CASE("TCPServer.handle_stream: a handle that is kept elsewhere keeps the stream") {
    test::Loop loop;
    std::optional<IOStream> kept;
    Server server([&kept](IOStream stream, Address) -> Future<void> {
      kept = stream;
      co_return;
    });
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    wait_until(loop, [&] { return kept.has_value(); });
    CHECK(server.connections() == 0);
    kept->write("hello");
    CHECK(result(loop, client.read_bytes(5)) == "hello");
    server.close_all_connections();  // it is not among those
    kept->write("hello");
    CHECK(result(loop, client.read_bytes(5)) == "hello");
    kept.reset();
    CHECK(result(loop, client.read_until_close()) == "");
  }

  TEST_CASE("TCPServer: the options reach the streams (T4)") {
    test::Loop loop;
    std::optional<IOStreamOptions> options;
    Server server(
        [&options](IOStream stream, Address) -> Future<void> {
          options = stream.options();
          CHECK(stream.remote_address().host() == "127.0.0.1");
          co_return;
        },
        {.max_buffer_size = 1000, .read_chunk_size = 100, .max_write_buffer_size = 10});
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    wait_until(loop, [&] { return options.has_value(); });
    CHECK(options->max_buffer_size == 1000);
    CHECK(options->read_chunk_size == 100);
    CHECK(options->max_write_buffer_size == 10);
  }

  // ---- clients come and go

  TEST_CASE("TCPServer: no client stays behind, however it goes (T13)") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      Server server(echo);
      auto [socket, address] = test::listen(transport);
      server.add_socket(std::move(socket));
      loop.iterate();
      const int before = test::open_descriptors();
      for (int i = 0; i < 60; ++i) {
        IOStream client = connect_to(loop, address);
        if (i % 2 == 0) CHECK(echoed(loop, client, "hello") == "hello\n");
        if (i % 3 == 0) client.write("half a line");
        if (i % 5 == 0) client.write(std::string(10000, '\n'));  // leaves the echo unread
        if (i % 4 == 0) test::reset_on_close(client);
        if (i % 7 == 0) loop.iterate(2);
      }
      wait_until(loop, [&] { return server.connections() == 0; });
      CHECK(test::open_descriptors() == before);
    }
  }

  // ---- the end of connections that are being handled

  namespace {

  // Handlers of a server whose members they use, with helpers that refer to the handlers' locals.
  class Complex : public TCPServer {
   public:
    explicit Complex(Names& gone) : gone_(gone) { listen(0, "127.0.0.1"); }
    ~Complex() override { close_all_connections(); }

   private:
    Future<void> handle_stream(IOStream stream, Address) override {
      const std::string name = "handler " + std::to_string(++handled_);
      const Mourner mourner(gone_, name);
      co_await outer_helper(stream, name);
      FAIL_CHECK("it ended");
    }
    Future<void> outer_helper(const IOStream& stream, const std::string& caller) {
      const Mourner mourner(gone_, "outer helper of " + caller);
      co_await inner_helper(stream, caller);
    }
    Future<void> inner_helper(const IOStream& stream, const std::string& caller) {
      const Mourner mourner(gone_, "inner helper of " + caller);
      co_await stream.write(caller);
      co_await stream.read_bytes(1);
    }

    Names& gone_;
    int handled_ = 0;
  };

  }  // namespace

  TEST_CASE("TCPServer: with it go its connections' coroutines, the newest first, callees first") {
    Names gone;
    test::Loop loop;
    auto server = std::make_unique<Complex>(gone);
    std::vector<IOStream> clients;
    for (const std::string name : {"handler 1", "handler 2", "handler 3"}) {
      clients.push_back(connect_to(loop, server->addresses().front()));
      CHECK(result(loop, clients.back().read_bytes(name.size())) == name);
    }
    loop.iterate(2);
    CHECK(server->connections() == 3);
    CHECK(gone.empty());
    server.reset();
    CHECK(gone == Names{"inner helper of handler 3", "outer helper of handler 3", "handler 3",
                        "inner helper of handler 2", "outer helper of handler 2", "handler 2",
                        "inner helper of handler 1", "outer helper of handler 1", "handler 1"});
    for (const IOStream& client : clients) CHECK(result(loop, client.read_until_close()) == "");
  }

  TEST_CASE("TCPServer: the loop may close first") {
    Names gone;
    auto loop = std::make_unique<test::Loop>();
    Complex server(gone);
    const IOStream client = connect_to(*loop, server.addresses().front());
    CHECK(result(*loop, client.read_bytes(9)) == "handler 1");
    loop.reset();
    CHECK(gone == Names{"inner helper of handler 1", "outer helper of handler 1", "handler 1"});
    CHECK(client.closed());
  }

  TEST_CASE("TCPServer.close_all_connections: the server goes on accepting") {
    test::Loop loop;
    Server server(echo);
    server.listen(0, "127.0.0.1");
    server.close_all_connections();
    const IOStream first = connect_to(loop, server.address());
    CHECK(echoed(loop, first, "hello") == "hello\n");
    server.close_all_connections();
    CHECK(server.connections() == 0);
    CHECK(result(loop, first.read_until_close()) == "");
    CHECK(echoed(loop, connect_to(loop, server.address()), "again") == "again\n");
  }

  TEST_CASE("TCPServer.close_all_connections: what was written is offered to the system once") {
    test::Loop loop;
    Server server([](IOStream stream, Address) -> Future<void> {
      stream.write("goodbye");
      co_await stream.read_bytes(1);
    });
    server.listen(0, "127.0.0.1");
    const IOStream client(Socket::tcp(AF_INET));
    const auto connected = client.connect(server.address());
    wait_until(loop, [&] { return server.connections() == 1; });
    server.close_all_connections();
    CHECK(result(loop, client.read_until_close()) == "goodbye");
  }

  TEST_CASE("TCPServer.close_all_connections: inside a handler, which goes on without its stream") {
    for (const bool suspended_before : {false, true}) {
      CAPTURE(suspended_before);
      test::Loop loop;
      Names gone;
      Names went_on;
      Server* self = nullptr;
      Server server([&](IOStream stream, Address) -> Future<void> {
        const std::string name = std::to_string(gone.size() + self->connections());
        const Mourner mourner(gone, name);
        if (suspended_before) co_await gen::moment;
        if (self->connections() == 3) {
          self->close_all_connections();
          CHECK(stream.closed());
          CHECK(self->connections() == 0);
          co_await gen::moment;
          went_on.push_back(name);
          co_return;
        }
        co_await stream.read_bytes(1);
      });
      self = &server;
      server.listen(0, "127.0.0.1");
      std::vector<IOStream> clients;
      for (int i = 0; i < 3; ++i) {
        clients.push_back(connect_to(loop, server.address()));
        loop.iterate(some_iterations);
      }
      wait_until(loop, [&] { return gone.size() == 3; });
      CHECK(went_on.size() == 1);
      CHECK(gone.back() == went_on.front());
      for (const IOStream& client : clients) CHECK(result(loop, client.read_until_close()) == "");
      CHECK(server.connections() == 0);
    }
  }

  namespace {

  // Uses its argument, a local of its caller's, after it closed all connections.
  Future<void> close_from_helper(TCPServer& server, const IOStream& stream,
                                 const std::string& callers_text, std::string& seen) {
    co_await gen::moment;
    server.close_all_connections();
    CHECK(stream.closed());
    seen = callers_text;
    co_await gen::moment;
    seen += callers_text;
  }

  Future<void> wait_with(const IOStream& stream, const std::string& callers_text, Names& gone) {
    const Mourner mourner(gone, callers_text + "'s helper");
    try {
      co_await stream.read_bytes(1);
    } catch (const StreamClosedError&) {
    }
    CHECK(callers_text == "a handler");
  }

  }  // namespace

  TEST_CASE("TCPServer.close_all_connections: inside a helper, whose caller it needs") {
    test::Loop loop;
    Server* self = nullptr;
    std::string seen;
    bool went_on = false;
    Server server([&](IOStream stream, Address) -> Future<void> {
      const std::string text = "a text that lives in the handler's frame;";
      co_await close_from_helper(*self, stream, text, seen);
      went_on = true;
    });
    self = &server;
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    CHECK(result(loop, client.read_until_close()) == "");
    wait_until(loop, [&] { return went_on; });
    CHECK(seen ==
          "a text that lives in the handler's frame;a text that lives in the handler's frame;");
  }

  TEST_CASE("TCPServer: helpers that a handler awaits together go with it") {
    test::Loop loop;
    Names gone;
    auto server = std::make_unique<Server>([&](IOStream stream, Address) -> Future<void> {
      const std::string text = "a handler";
      const Mourner mourner(gone, text);
      std::vector<Future<void>> helpers;
      helpers.push_back(wait_with(stream, text, gone));
      helpers.push_back(gen::with_timeout(1h, gen::sleep(1h)));
      co_await gen::with_timeout(1h, gen::multi(std::move(helpers)));
    });
    server->listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server->address());
    wait_until(loop, [&] { return server->connections() == 1; });
    loop.iterate(5);
    server.reset();
    CHECK(gone == Names{"a handler's helper", "a handler"});
    loop.iterate(5);
    CHECK(gone.size() == 2);
  }

  TEST_CASE("TCPServer.close_all_connections: inside one of several helpers") {
    test::Loop loop;
    Names gone;
    Server* self = nullptr;
    std::string seen;
    Server server([&](IOStream stream, Address) -> Future<void> {
      const std::string text = "a handler";
      const Mourner mourner(gone, text);
      co_await gen::multi(close_from_helper(*self, stream, text, seen),
                          wait_with(stream, text, gone));
    });
    self = &server;
    server.listen(0, "127.0.0.1");
    const IOStream client = connect_to(loop, server.address());
    CHECK(result(loop, client.read_until_close()) == "");
    wait_until(loop, [&] { return gone.size() == 2; });
    CHECK(seen == "a handlera handler");
  }

  TEST_CASE("TCPServer: destroyed by one of its handlers") {
    for (const bool suspended_before : {false, true}) {
      CAPTURE(suspended_before);
      test::Loop loop;
      Names gone;
      std::unique_ptr<Server> server;
      const auto handle = [&](IOStream stream) -> Future<void> {
        const Mourner mourner(gone, "handler");
        if (suspended_before) co_await gen::moment;
        server.reset();
        CHECK(stream.closed());
        co_await gen::moment;
      };
      server = std::make_unique<Server>(
          [&handle](IOStream stream, Address) { return handle(std::move(stream)); });
      server->listen(0, "127.0.0.1");
      const IOStream client = connect_to(loop, server->address());
      const IOStream another(Socket::tcp(AF_INET));
      const auto connected = another.connect(server->address());
      wait_until(loop, [&] { return gone.size() == 1; });
      CHECK_FALSE(server);
      CHECK(result(loop, client.read_until_close()) == "");
      wait_until(loop, [&] { return connected.done(); });
      if (connected.exception() == nullptr) {
        CHECK_THROWS_AS(result(loop, another.read_bytes(1)), StreamClosedError);
      }
    }
  }
}
