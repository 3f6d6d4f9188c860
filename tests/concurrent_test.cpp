// SPDX-License-Identifier: Apache-2.0
#include "tornado/concurrent.hpp"

#include "loop_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/log.hpp"
#include "tornado/netutil.hpp"
#include "tornado/tcpserver.hpp"

#include <cctype>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

using namespace tornado;
using test::CustomError;

namespace {

std::exception_ptr error(const char* what) { return std::make_exception_ptr(CustomError(what)); }

constexpr auto never_retrieved = "Future exception was never retrieved";

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

class CapServer : public TCPServer {
  Future<void> handle_stream(IOStream stream, Address) override {
    const std::string data = co_await stream.read_until("\n");
    if (data == upper(data)) {
      stream.write("error\talready capitalized\n");
    } else {
      stream.write("ok\t" + upper(data));  // data has its newline already
    }
    stream.close();
  }
};

struct CapError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Lets a server of its own capitalize text.
class CapClient {
 public:
  CapClient() {
    auto [socket, port] = test::bind_unused_port();
    server_.add_socket(std::move(socket));
    port_ = port;
  }

  Future<std::string> capitalize(std::string request) {
    IOStream stream(Socket::tcp(AF_INET));
    co_await stream.connect(Address("127.0.0.1", port_));
    stream.write(request + "\n");
    const std::string data = co_await stream.read_until("\n");
    stream.close();
    const std::size_t tab = data.find('\t');
    const std::string message = data.substr(tab + 1, data.size() - tab - 2);
    if (data.substr(0, tab) != "ok") throw CapError(message);
    co_return message;
  }

 private:
  CapServer server_;
  std::uint16_t port_;
};

}  // namespace

TEST_SUITE("concurrent") {
  TEST_CASE("Future: pending until it has a result") {
    const Future<int> future;
    CHECK_FALSE(future.done());
    CHECK(future.running());
    CHECK_FALSE(future.cancelled());
    CHECK_THROWS_AS(future.result(), InvalidStateError);
    CHECK_THROWS_AS(future.exception(), InvalidStateError);
    CHECK_THROWS_AS(future.exc_info(), InvalidStateError);

    future.set_result(42);
    CHECK(future.done());
    CHECK_FALSE(future.running());
    CHECK_FALSE(future.cancelled());
    CHECK(future.result() == 42);
    CHECK(future.exception() == nullptr);
    CHECK(future.exc_info() == nullptr);
  }

  TEST_CASE("Future.set_result: what is done stays as it is") {
    const Future<std::string> future;
    future.set_result("first");
    CHECK_THROWS_AS(future.set_result("second"), InvalidStateError);
    CHECK_THROWS_AS(future.set_exception(CustomError("late")), InvalidStateError);
    CHECK_FALSE(future.cancel());
    CHECK_FALSE(future.cancelled());
    CHECK(future.result() == "first");

    const Future<void> nothing;
    nothing.set_result();
    CHECK_THROWS_AS(nothing.set_result(), InvalidStateError);
    nothing.result();
  }

  TEST_CASE("Future.set_result: takes what a T can be made of, also what only moves") {
    const Future<std::unique_ptr<int>> moved;
    auto value = std::make_unique<int>(7);
    moved.set_result(std::move(value));
    CHECK(*moved.result() == 7);

    const Future<std::optional<std::string>> converted;
    converted.set_result("text");
    CHECK(converted.result() == "text");
  }

  TEST_CASE("Future.result: a reference to the one value that all handles share") {
    const Future<std::string> future;
    const Future<std::string> copy = future;
    copy.set_result("shared");
    static_assert(std::is_same_v<decltype(future.result()), const std::string&>);
    static_assert(std::is_void_v<decltype(Future<void>().result())>);
    CHECK(&future.result() == &copy.result());
    CHECK(future.result() == "shared");
  }

  TEST_CASE("Future.set_exception: an object or a pointer, thrown as what it is") {
    const Future<int> object;
    object.set_exception(CustomError("an object"));
    CHECK(object.done());
    CHECK_THROWS_WITH_AS(object.result(), "an object", CustomError);
    CHECK_THROWS_WITH_AS(object.result(), "an object", CustomError);

    const Future<int> pointer;
    const std::exception_ptr what = error("a pointer");
    pointer.set_exception(what);
    CHECK(pointer.exception() == what);
    CHECK(pointer.exc_info() == what);
    CHECK_THROWS_WITH_AS(pointer.result(), "a pointer", CustomError);

    const Future<int> old_name;
    old_name.set_exc_info(what);
    CHECK(old_name.exception() == what);

    const Future<void> unusual;
    unusual.set_exception(std::string("not a std::exception"));
    CHECK_THROWS_AS(unusual.result(), std::string);
  }

  TEST_CASE("Future.set_exception: refuses a null pointer and a second result") {
    const Future<int> future;
    CHECK_THROWS_AS(future.set_exception(std::exception_ptr()), std::invalid_argument);
    CHECK_FALSE(future.done());
    future.set_exception(error("first"));
    CHECK_THROWS_AS(future.set_exception(error("second")), InvalidStateError);
    CHECK_THROWS_AS(future.set_result(1), InvalidStateError);
    CHECK_FALSE(future.cancel());
    CHECK_THROWS_WITH_AS(future.result(), "first", CustomError);
  }

  TEST_CASE("Future.cancel: with nothing behind it, it is cancelled at once") {
    const Future<int> future;
    CHECK(future.cancel());
    CHECK(future.done());
    CHECK(future.cancelled());
    CHECK_THROWS_AS(future.result(), CancelledError);
    CHECK_THROWS_AS(future.exception(), CancelledError);
    CHECK_FALSE(future.cancel());
    CHECK_THROWS_AS(future.set_result(1), InvalidStateError);
    CHECK_THROWS_AS(future.set_exception(error("late")), InvalidStateError);
  }

  TEST_CASE("CancelledError: passes a handler of std::exception") {
    static_assert(!std::is_base_of_v<std::exception, CancelledError>);
    static_assert(std::is_base_of_v<std::logic_error, InvalidStateError>);
    const Future<int> future;
    future.cancel();
    bool cancelled = false;
    try {
      try {
        future.result();
      } catch (const std::exception&) {
        FAIL_CHECK("caught as a std::exception");
      }
    } catch (const CancelledError& e) {
      cancelled = std::string(e.what()) == "cancelled";
    }
    CHECK(cancelled);
  }

  TEST_CASE("Future: a moved-from handle can be assigned to") {
    Future<int> first;
    const Future<int> second = std::move(first);
    first = Future<int>();
    first.set_result(1);
    CHECK_FALSE(second.done());
    first = second;
    CHECK_FALSE(first.done());
  }

  TEST_CASE("make_ready_future, make_exception_future, is_future") {
    CHECK(make_ready_future(5).result() == 5);
    CHECK(make_ready_future(std::make_unique<int>(6)).result() != nullptr);
    CHECK(make_ready_future().done());
    CHECK_THROWS_AS(make_exception_future<int>(error("made")).result(), CustomError);
    CHECK_THROWS_AS(make_exception_future(error("made")).result(), CustomError);
    CHECK(is_future(make_ready_future(5)));
    CHECK_FALSE(is_future(5));
  }

  TEST_CASE(
      "Future: an error that nobody looked at is logged once, when the last handle goes (G3)") {
    test::Loop loop;
    const test::ExpectLog expected(log::app_log,
                                   std::string(never_retrieved) + ": test::CustomError: lost");
    {
      const Future<int> future = make_exception_future<int>(error("lost"));
      const Future<int> copy = future;
      future.add_done_callback([] {});  // does not look
      loop.iterate();
      CHECK(expected.count() == 0);
    }
    CHECK(expected.count() == 1);
    loop.iterate();
    CHECK(expected.count() == 1);
  }

  TEST_CASE("Future: an error that was looked at is not logged (G3)") {
    test::Loop loop;
    CHECK_THROWS_AS(make_exception_future(error("by result")).result(), CustomError);
    CHECK(make_exception_future(error("by exception")).exception());
    CHECK(make_exception_future(error("by exc_info")).exc_info());
    const auto awaits = [](Future<void> future) -> Future<bool> {
      try {
        co_await future;
      } catch (const CustomError&) {
        co_return true;
      }
      co_return false;
    };
    CHECK(loop.run([&] { return awaits(make_exception_future(error("by co_await"))); }));
    const Future<void> target;
    chain_future(make_exception_future(error("by chain_future")), target);
    CHECK(target.exception());
    const Future<void> cancelled;
    cancelled.cancel();
  }

  // Python: concurrent_test.ReturnFutureTest.test_uncaught_exception_log
  TEST_CASE("Future: a coroutine's error is logged when its last handle goes (G3)") {
    test::Loop loop;
    const auto f = []() -> Future<void> {
      co_await gen::moment;
      throw CustomError("nobody asked");
    };
    auto g = std::make_unique<Future<void>>(f());
    const test::ExpectLog expected(log::app_log, never_retrieved);
    loop.iterate(2);
    CHECK(g->done());
    CHECK(expected.count() == 0);
    g.reset();
    CHECK(expected.count() == 1);
  }

  // Python: concurrent_test.MiscFutureTest.test_future_set_result_unless_cancelled
  TEST_CASE("future_set_result_unless_cancelled: sets the result, or does nothing (G4)") {
    const Future<int> future;
    future_set_result_unless_cancelled(future, 42);
    CHECK(future.result() == 42);
    CHECK_FALSE(future.cancelled());

    const Future<int> cancelled;
    cancelled.cancel();
    CHECK(cancelled.cancelled());
    future_set_result_unless_cancelled(cancelled, 42);
    CHECK(cancelled.cancelled());
    CHECK_THROWS_AS(cancelled.result(), CancelledError);

    const Future<void> nothing;
    future_set_result_unless_cancelled(nothing);
    CHECK(nothing.done());
    CHECK_THROWS_AS(future_set_result_unless_cancelled(nothing), InvalidStateError);
  }

  TEST_CASE("future_set_exception_unless_cancelled: after cancellation the error is logged (G4)") {
    const Future<int> future;
    future_set_exception_unless_cancelled(future, error("in time"));
    CHECK_THROWS_WITH_AS(future.result(), "in time", CustomError);
    CHECK_THROWS_AS(future_set_exception_unless_cancelled(future, error("second")),
                    InvalidStateError);

    const Future<int> cancelled;
    cancelled.cancel();
    const test::ExpectLog expected(log::app_log, "CustomError: too late");
    future_set_exception_unless_cancelled(cancelled, error("too late"));
    CHECK(expected.count() == 1);
    CHECK(cancelled.cancelled());
  }

  // The decorator return_future is gone since Tornado 6; the Future is completed by hand.
  // Python: concurrent_test.ReturnFutureTest.test_async_future
  TEST_CASE("Future: completed by a callback, seen by add_future") {
    test::Loop loop;
    const Future<int> future;
    loop.add_callback([=] { future.set_result(42); });
    CHECK_FALSE(future.done());
    std::optional<Future<int>> future2;
    loop.add_future(future, [&](Future<int> f) {
      future2 = f;
      loop.stop();
    });
    loop.wait();
    REQUIRE(future2.has_value());
    CHECK(&future2->result() == &future.result());
    CHECK(future.result() == 42);
  }

  // Python: concurrent_test.ReturnFutureTest.test_async_future_gen
  TEST_CASE("Future: completed by a callback, awaited by a coroutine") {
    test::Loop loop;
    const int result = loop.run([&]() -> Future<int> {
      const Future<int> future;
      loop.add_callback([=] { future.set_result(42); });
      co_return co_await future;
    });
    CHECK(result == 42);
  }

  // Tornado 4 ran these four with three kinds of client.
  // Python: concurrent_test.GeneratorCapClientTest.test_future
  // Python: concurrent_test.ClientTestMixin.test_future
  TEST_CASE("Future: what a client returns, waited for by add_future") {
    test::Loop loop;
    CapClient client;
    const Future<std::string> future = client.capitalize("hello");
    loop.add_future(future, [&](const auto&) { loop.stop(); });
    loop.wait();
    CHECK(future.result() == "HELLO");
  }

  // Python: concurrent_test.GeneratorCapClientTest.test_future_error
  // Python: concurrent_test.ClientTestMixin.test_future_error
  TEST_CASE("Future: how a client fails, waited for by add_future") {
    test::Loop loop;
    CapClient client;
    const Future<std::string> future = client.capitalize("HELLO");
    loop.add_future(future, [&](const auto&) { loop.stop(); });
    loop.wait();
    CHECK_THROWS_WITH_AS(future.result(), "already capitalized", CapError);
  }

  // Python: concurrent_test.GeneratorCapClientTest.test_generator
  // Python: concurrent_test.ClientTestMixin.test_generator
  TEST_CASE("Future: what a client returns, awaited by a coroutine") {
    test::Loop loop;
    CapClient client;
    loop.run([&]() -> Future<void> {
      const std::string result = co_await client.capitalize("hello");
      CHECK(result == "HELLO");
    });
  }

  // Python: concurrent_test.GeneratorCapClientTest.test_generator_error
  // Python: concurrent_test.ClientTestMixin.test_generator_error
  TEST_CASE("Future: how a client fails, awaited by a coroutine") {
    test::Loop loop;
    CapClient client;
    std::string what;
    loop.run([&]() -> Future<void> {
      try {
        co_await client.capitalize("HELLO");
      } catch (const CapError& e) {
        what = e.what();
      }
    });
    CHECK(what == "already capitalized");
  }

  TEST_CASE("Future: outlives its loop, keeps its result, and calls nobody") {
    const Future<int> pending;
    const Future<std::string> done;
    const Future<int> failed;
    auto token = std::make_shared<int>();
    const std::weak_ptr<int> watch = token;
    bool called = false;
    {
      test::Loop loop;
      pending.add_done_callback([token = std::move(token), &called] { called = true; });
      failed.add_done_callback([&called] { called = true; });
      done.set_result("kept");
      done.add_done_callback([&called] { called = true; });  // in the queue of a loop that ends
    }
    CHECK(watch.expired());
    pending.set_result(1);
    CHECK(pending.result() == 1);
    CHECK(done.result() == "kept");
    failed.set_exception(error("after the loop"));
    CHECK(failed.exception());
    CHECK_FALSE(called);
  }

  TEST_CASE("Future: a callback added after its loop was closed runs on the current one") {
    const Future<int> future;
    {
      test::Loop loop;
      future.add_done_callback([] { FAIL_CHECK("called by the loop that is gone"); });
    }
    test::Loop loop;
    bool called = false;
    future.add_done_callback([&] { called = true; });
    future.set_result(1);
    loop.iterate();
    CHECK(called);
  }

  TEST_CASE(
      "Future: completed on the wrong thread while its loop runs ends the program, and says so") {
    const test::Child child = test::run_in_child([] {
      test::Loop loop;
      const Future<int> future;
      future.add_done_callback([] {});
      loop.add_callback([&] {
        std::thread thread([&] { future.set_result(1); });
        thread.join();
      });
      loop.start();
    });
    CHECK(child.aborted());
    CHECK_MESSAGE(
        child.text.find("on a thread that is not its loop's. Use RemotePromise") != child.text.npos,
        child.text);
  }
}
