// SPDX-License-Identifier: Apache-2.0
//
// What is left of TCPClient.connect when it is cancelled, or its loop or server goes.
#include "tcpclient_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/tcpclient.hpp"
#include "tornado/tcpserver.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/socket.h>

using namespace tornado;
using namespace std::chrono_literals;
using test::Addresses;
using test::Connecting;
using test::family_delay;
using test::fresh_address;
using test::ListResolver;
using test::Place;
using test::TestServer;
using test::tried;

TEST_SUITE("tcpclient") {
  TEST_CASE("TCPClient.connect: cancelling closes all attempts") {
    Connecting test;
    const Place a(AF_UNIX, Place::hanging);
    const Place b(AF_INET, Place::hanging);
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      const Future<IOStream> one = test.connect({.timeout = timeout}, a, b);
      CHECK(test.open() == 1);
      CHECK(one.cancel());
      CHECK_THROWS_AS(test.result(one), CancelledError);
      CHECK(test.open() == 0);

      const Future<IOStream> both = test.connect({.timeout = timeout}, a, b);
      test.wait_until([&] { return test.has_tried(a, b); });
      CHECK(test.open() == 2);
      CHECK(both.cancel());
      CHECK_THROWS_AS(test.result(both), CancelledError);
      CHECK(test.open() == 0);
    }
  }

  TEST_CASE("TCPClient.connect: cancelling gives up the lookup") {
    test::Loop loop;
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      const auto resolver = std::make_shared<ListResolver>();
      const Future<IOStream> stream =
          TCPClient(resolver).connect("host.test", 80, {.timeout = timeout});
      loop.iterate();
      CHECK(stream.cancel());
      CHECK_THROWS_AS(test::result(loop, stream), CancelledError);
      CHECK(resolver->answer.cancelled());
    }
  }

  TEST_CASE("TCPClient.connect: with_timeout around it, and the attempt goes on meanwhile") {
    Connecting test;
    Place a(AF_UNIX, Place::hanging);
    const Future<IOStream> stream = test.connect(a);
    CHECK_THROWS_AS(test.loop.run([&] { return gen::with_timeout(1ms, stream); }), TimeoutError);
    a.let_in();
    CHECK(test.result(stream).remote_address() == a.address());
  }

  TEST_CASE("TCPClient.connect: a stream that nobody took is closed") {
    Connecting test;
    Place a(AF_INET, Place::listening);
    std::optional<Future<IOStream>> stream = test.connect(a);
    test.wait_until([&] { return stream->done(); });
    CHECK(a.connected());
    CHECK(test.open() == 1);
    stream.reset();
    test.loop.iterate();
    CHECK(test.open() == 0);
  }

  TEST_CASE("TCPClient.connect: the loop can be closed at every step") {
    { Connecting warm_up; }
    const int before = test::open_descriptors();
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      for (const std::string_view step : {"lookup", "begun", "first", "both", "one left", "done"}) {
        CAPTURE(step);
        std::optional<Connecting> test(std::in_place);
        Place a(AF_UNIX, Place::hanging);
        Place b(AF_INET, Place::hanging);
        std::optional<Place> c(std::in_place, AF_INET, Place::listening);
        const ConnectOptions options{.timeout = timeout};
        Future<IOStream> stream;
        if (step == "lookup") {
          stream = TCPClient(std::make_shared<ListResolver>()).connect("host.test", 80, options);
        } else if (step == "begun") {
          stream = TCPClient(std::make_shared<ListResolver>(Addresses{a.address()}))
                       .connect("host.test", 80, options);
        } else if (step == "done") {
          stream = test->connect(options, *c);
          test->wait_until([&] { return stream.done(); });
        } else {
          stream = test->connect(options, a, b);
        }
        if (step == "both") test->wait_until([&] { return test->has_tried(a, b); });
        if (step == "one left") {
          a.refuse();
          test->wait_until([&] { return test->has_tried(a, b); });
        }
        test.reset();
        CHECK(stream.done());
        CHECK(stream.cancelled() == (step != "done"));
      }
      CHECK(test::open_descriptors() == before);
    }
  }

  TEST_CASE("TCPClient.connect: a server that goes takes the connects of its coroutines along") {
    /// A server that connects to somewhere else for each of its clients.
    class Proxy : public TCPServer {
     public:
      Proxy(std::shared_ptr<Resolver> resolver, std::optional<Deadline> limit)
          : client(std::move(resolver)), timeout(limit) {
        Socket socket = Socket::unix_stream();
        socket.bind(fresh_address(AF_UNIX));
        socket.listen();
        add_socket(std::move(socket));
      }
      ~Proxy() override { close_all_connections(); }
      Future<void> handle_stream(IOStream, Address) override {
        const IOStream other = co_await client.connect("host.test", 80, {.timeout = timeout});
        FAIL_CHECK("connected to ", other.remote_address().str());
      }
      TCPClient client;
      std::optional<Deadline> timeout;
    };
    Connecting test;
    const Place a(AF_UNIX, Place::hanging);
    const Place b(AF_INET, Place::listening);
    const auto resolver = std::make_shared<ListResolver>(Addresses{a.address(), b.address()});
    { const Proxy first(resolver, std::nullopt); }  // makes the loop's set of descriptors
    for (const auto timeout : {std::optional<Deadline>(), std::optional<Deadline>(1h)}) {
      const int before = test::open_descriptors();
      std::optional<Proxy> proxy(std::in_place, resolver, timeout);
      const IOStream stream(Socket::unix_stream());
      test::result(test.loop, stream.connect(proxy->addresses().front()));
      tried().clear();
      test.wait_until([&] { return test.has_tried(a); });
      proxy.reset();
      test.pass(family_delay + 50ms);
      CHECK(test.has_tried(a));
      stream.close();
      CHECK(test::open_descriptors() == before);
    }
  }

  TEST_CASE("TCPClient.connect: many clients at once, and not a descriptor too many") {
    Connecting test;
    const TestServer server(AF_INET);
    const Place a(AF_UNIX, Place::refusing);
    test.loop.iterate();
    const int before = test::open_descriptors();
    {
      const TCPClient client(std::make_shared<ListResolver>(
          Addresses{a.address(), Address("127.0.0.1", server.port), a.address()}));
      std::vector<Future<IOStream>> futures;
      for (int i = 0; i < 100; ++i) futures.push_back(client.connect("host.test", 80));
      const std::vector<IOStream> streams = test.loop.run([&] { return gen::multi(futures); });
      for (const IOStream& stream : streams) CHECK(stream.remote_address().port() == server.port);
      test.wait_until([&] { return server.streams.size() == 100; });
      CHECK(test::open_descriptors() == before + 200);
      for (const IOStream& stream : server.streams) stream.close();
      for (const IOStream& stream : streams) stream.close();
    }
    CHECK(test::open_descriptors() == before);
  }
}
