// SPDX-License-Identifier: Apache-2.0
//
// Cancelling: what it reaches, what it leaves alone, and how to clean up.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <string>

using namespace std::chrono_literals;
using namespace tornado;

Future<void> inner() {
  try {
    co_await gen::sleep(1h);
  } catch (const CancelledError&) {
    fmt::print("inner: its wait has ended\n");
    throw;
  }
}

Future<void> outer() {
  co_await inner();
  fmt::print("never printed\n");
}

Future<void> reaches_what_is_awaited() {
  const Future<void> work = outer();
  work.cancel();
  fmt::print("asked; cancelled: {}\n", work.cancelled());
  const auto end = co_await gen::settled(work);
  fmt::print("ended; cancelled: {}\n", end.cancelled());
}

Future<void> complete_already() {
  Future<std::string> message;
  auto reader = [message]() -> Future<void> {
    const std::string text = co_await message;
    fmt::print("got {}\n", text);
    co_await gen::sleep(1h);
  };
  const Future<void> work = reader();
  message.set_result("a message");
  work.cancel();  // the message is there: it is delivered, and the sleep ends
  const auto end = co_await gen::settled(work);
  fmt::print("cancelled: {}\n", end.cancelled());
}

Future<void> awaited_by_others() {
  const Future<void> shared = gen::sleep(20ms);
  const Future<void> one = gen::with_timeout(1h, shared);
  const Future<void> other = gen::with_timeout(1h, shared);
  one.cancel();
  co_await other;
  fmt::print("one: {}, other: done\n", one.cancelled() ? "cancelled" : "done");
}

Future<void> save(std::string what) {
  co_await gen::sleep(20ms);
  fmt::print("saved {}\n", what);
}

// What C++ has instead of `finally`: co_await may not stand in a catch block.
Future<void> clean_up_and_throw_on() {
  std::exception_ptr error;
  try {
    co_await gen::sleep(1h);
  } catch (...) {
    error = std::current_exception();
  }
  co_await save("the journal");  // this wait is not cancelled: the request was met above
  if (error) std::rethrow_exception(error);
}

Future<void> protected_part() { co_await gen::shield(save("the last page")); }

Future<void> cleaning_up() {
  const Future<void> work = clean_up_and_throw_on();
  work.cancel();
  const auto end = co_await gen::settled(work);
  fmt::print("cancelled: {}\n", end.cancelled());
}

Future<void> shielding() {
  const Future<void> work = protected_part();
  work.cancel();
  const auto end = co_await gen::settled(work);
  fmt::print("cancelled: {}\n", end.cancelled());
  co_await gen::sleep(40ms);
}

Future<void> run() {
  co_await reaches_what_is_awaited();
  co_await complete_already();
  co_await awaited_by_others();
  co_await cleaning_up();
  co_await shielding();
}

int main() { IOLoop::current().run_sync(run); }
