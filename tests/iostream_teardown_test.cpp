// SPDX-License-Identifier: Apache-2.0
//
// An IOStream whose loop goes, or its server or client at any step of a conversation.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/tcpserver.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

using namespace tornado;
using test::Counted;
using test::make_narrow_pair;
using test::mb;
using test::result;
using test::Transport;
using test::wait_until;

TEST_SUITE("iostream") {
  TEST_CASE("IOStream: a handle may outlive the loop") {
    std::optional<IOStream> stream;
    std::optional<Future<std::string>> read;
    std::optional<Future<void>> written;
    int live = 0;
    {
      test::Loop loop;
      const auto [rs, ws] = make_narrow_pair();
      stream = rs;
      read = rs.read_bytes(1);
      written = rs.write(std::string(mb, 'a'));
      rs.set_close_callback([counted = Counted(live)] { FAIL_CHECK("it was called"); });
      loop.iterate(2);
      CHECK(live == 1);
    }
    CHECK(live == 0);
    CHECK(stream->closed());
    CHECK(read->cancelled());
    CHECK(written->cancelled());
    CHECK(stream->fileno() == Socket::invalid_handle);
    CHECK(stream->read_bytes(1).done());
    CHECK(stream->write("abc").done());
    CHECK(stream->connect(Address("127.0.0.1", 1)).done());
    stream->close();
    stream->flush();
    stream->set_close_callback([counted = Counted(live)] { FAIL_CHECK("it was called"); });
    CHECK(live == 0);
    const IOStream copy = *stream;
    CHECK(copy == *stream);
    stream.reset();
    CHECK(copy.closed());
  }

  TEST_CASE("IOStream: what was written is offered to the system when the loop closes") {
    auto [accepted, peer] = test::connected_sockets();
    {
      test::Loop loop;
      const IOStream stream(std::move(accepted));
      stream.write("goodbye");
    }
    char buffer[100];
    test::wait_for_events(peer.native_handle(), POLLIN);
    CHECK(std::string(buffer, static_cast<std::size_t>(::recv(peer.native_handle(), buffer,
                                                              sizeof buffer, 0))) == "goodbye");
  }

  namespace {

  // What the two sides of a conversation have in common with the test.
  struct Trace {
    int steps = 0;  // how often one of them went on
    int live = 0;   // how many of them there are
  };

  // More than the system's buffers hold.
  const std::string& request() {
    static const std::string bytes = test::pattern(4 * mb);
    return bytes;
  }

  // Waits for each of the things that one can wait for with a stream.
  Future<void> converse(Transport transport, Address address, Trace& trace) {
    const Counted counted(trace.live);
    const IOStream stream(test::client_socket(transport));
    stream.set_close_callback([counted] {});
    co_await stream.connect(address);
    ++trace.steps;
    co_await stream.write(request());
    ++trace.steps;
    const std::string line = co_await stream.read_until("\n");
    CHECK(line == "a line\n");
    ++trace.steps;
    std::string buffer(100000, '\0');
    const std::size_t count = co_await stream.read_into(buffer);
    CHECK(count == buffer.size());
    ++trace.steps;
    const std::string partial = co_await stream.read_bytes(1000, Partial::yes);
    CHECK(partial == "a part");
    ++trace.steps;
    co_await stream.write("next");
    ++trace.steps;
    const std::string rest = co_await stream.read_until_close();
    CHECK((rest == "the rest" || rest.empty()));
  }

  class Conversation : public TCPServer {
   public:
    explicit Conversation(Trace& trace) : trace_(trace) {}
    ~Conversation() override { close_all_connections(); }

   private:
    Future<void> handle_stream(IOStream stream, Address) override {
      const Counted counted(trace_.live);
      try {
        co_await talk(stream);
      } catch (const StreamClosedError&) {
      }
    }
    Future<void> talk(const IOStream& stream) {
      const Counted counted(trace_.live);
      const std::string received = co_await stream.read_bytes(request().size());
      CHECK((received == request()));
      ++trace_.steps;
      stream.write("a line\n");
      co_await gen::moment;
      ++trace_.steps;
      co_await stream.write(std::string(100000, 'b'));
      ++trace_.steps;
      co_await stream.write("a part");
      ++trace_.steps;
      const std::string next = co_await stream.read_bytes(4);
      CHECK(next == "next");
      ++trace_.steps;
      co_await gen::moment;
      ++trace_.steps;
      co_await stream.write("the rest");
      ++trace_.steps;
    }

    Trace& trace_;
  };

  // Begins the conversation, and lets it go on for so many steps, and some iterations more. Says
  // whether it had ended by then. `stop_it(loop, server, future)` puts an end to it.
  template <class F>
  bool converse_for(Transport transport, int steps, int iterations, F stop_it) {
    const int descriptors = test::open_descriptors();
    Trace trace;
    bool ended;
    {
      auto loop = std::make_unique<test::Loop>();
      auto server = std::make_unique<Conversation>(trace);
      auto [listener, address] = test::listen(transport);
      server->add_socket(std::move(listener));
      const Future<void> future = converse(transport, address, trace);
      wait_until(*loop, [&] { return trace.steps >= steps || future.done(); });
      loop->iterate(iterations);
      ended = future.done();
      stop_it(loop, server, future);
      CHECK(future.done());
      CHECK(trace.live == 0);
    }
    CHECK(test::open_descriptors() == descriptors);
    return ended;
  }

  using LoopPointer = std::unique_ptr<test::Loop>;
  using ServerPointer = std::unique_ptr<Conversation>;

  template <class F>
  void stop_at_each_step(F stop_it) {
    for (const Transport transport : test::transports) {
      for (const int iterations : {0, 2}) {
        int steps = 0;
        while (!converse_for(transport, steps, iterations, stop_it)) {
          REQUIRE(steps++ < 20);
        }
        CHECK(steps > 10);
      }
    }
  }

  }  // namespace

  TEST_CASE("IOStream: the loop may close at each step of a conversation") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>&) {
      loop.reset();
      server.reset();
    });
  }

  TEST_CASE("IOStream: the server may go at each step of a conversation, and then the loop") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>&) {
      server.reset();
      loop.reset();
    });
  }

  TEST_CASE("IOStream: the client may be cancelled at each step of a conversation") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>& future) {
      const bool ended = future.done();
      CHECK(future.cancel() != ended);
      wait_until(*loop, [&future] { return future.done(); });
      CHECK(future.cancelled() != ended);
      server->close_all_connections();
      loop->iterate(5);
    });
  }

  TEST_CASE("IOStream: the client may lose its server at each step of a conversation") {
    stop_at_each_step([](LoopPointer& loop, ServerPointer& server, const Future<void>& future) {
      server->stop();
      server->close_all_connections();
      wait_until(*loop, [&future] { return future.done(); });
      if (future.exception()) CHECK_THROWS_AS(future.result(), StreamClosedError);
      loop->iterate(5);
    });
  }
}
