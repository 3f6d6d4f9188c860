// SPDX-License-Identifier: Apache-2.0
//
// The connections of a TCPServer that are being handled, and their end: close_all_connections, and
// the destructor.
#include "server_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/tcpserver.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::connect_to;
using test::echo;
using test::echoed;
using test::Mourner;
using test::Names;
using test::result;
using test::Server;
using test::some_iterations;
using test::Transport;
using test::wait_until;

TEST_SUITE("tcpserver") {
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

  TEST_CASE("TCPServer.close_all_connections: one of them, when it goes, destroys the server") {
    test::Loop loop;
    Names gone;
    std::unique_ptr<Server> server;
    const auto handle = [&](IOStream stream) -> Future<void> {
      const Mourner mourner(gone, "handler");
      const std::shared_ptr<void> end(nullptr, [&server](void*) { server.reset(); });
      co_await stream.read_bytes(1);
    };
    server = std::make_unique<Server>(
        [&handle](IOStream stream, Address) { return handle(std::move(stream)); });
    server->listen(0, "127.0.0.1");
    const IOStream first = connect_to(loop, server->address());
    const IOStream second = connect_to(loop, server->address());
    wait_until(loop, [&] { return server->connections() == 2; });
    server->close_all_connections();
    CHECK_FALSE(server);
    CHECK(gone.size() == 2);
    CHECK(result(loop, first.read_until_close()) == "");
    CHECK(result(loop, second.read_until_close()) == "");
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
