// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/gen.hpp>; docs/reference/gen.md quotes them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace tornado;

Future<int> number(int value, std::chrono::milliseconds delay = 1ms) {
  co_await gen::sleep(delay);
  if (value < 0) throw std::invalid_argument(fmt::format("{} is below zero", value));
  co_return value;
}

Future<void> moment() {
  IOLoop::current().add_callback([] { fmt::print("another callback\n"); });
  co_await gen::moment;
  fmt::print("an iteration later\n");
}

Future<void> rest() {
  const auto begin = std::chrono::steady_clock::now();
  co_await gen::sleep(20ms);
  fmt::print("20 ms and more: {}\n", std::chrono::steady_clock::now() - begin >= 20ms);
}

Future<void> multi() {
  const auto [one, text] = co_await gen::multi(number(1), make_ready_future(std::string("two")));
  fmt::print("{} {}\n", one, text);

  std::vector<Future<int>> list;
  for (int i = 1; i <= 3; ++i) list.push_back(number(i));
  const std::vector<int> values = co_await gen::multi(std::move(list));
  fmt::print("{} values, the last is {}\n", values.size(), values.back());
}

Future<void> multi_errors() {
  std::vector<Future<int>> list;
  for (int i = 1; i <= 3; ++i) list.push_back(number(-i));
  try {
    co_await gen::multi(std::move(list), gen::quiet<std::invalid_argument>);
  } catch (const std::invalid_argument& error) {
    fmt::print("{}\n", error.what());  // the others are not logged
  }
}

Future<void> multi_of_other_things() {
  const auto [one, pause] = co_await gen::multi(number(1), gen::moment);
  const auto [two] = co_await std::tuple(number(2));
  const auto [three, four] = co_await gen::multi_future(number(3), number(4));
  static_cast<void>(pause);  // a std::monostate
  fmt::print("{} {} {} {}\n", one, two, three, four);
}

Future<void> with_timeout() {
  const int in_time = co_await gen::with_timeout(1s, number(5));
  fmt::print("{}\n", in_time);

  const Future<int> slow = number(6, 50ms);
  try {
    co_await gen::with_timeout(10ms, slow);
  } catch (const gen::TimeoutError& error) {
    fmt::print("{}\n", error.what());
  }
  const int value = co_await slow;
  fmt::print("it went on: {}\n", value);
}

Future<void> timeout_after() {
  const int in_time = co_await gen::timeout_after(1s, number, 5, 1ms);
  fmt::print("{}\n", in_time);

  const Future<int> slow = number(6, 1h);
  try {
    co_await gen::timeout_after(10ms, slow);
  } catch (const TimeoutError&) {
    fmt::print("cancelled: {}\n", slow.cancelled());
  }
}

Future<void> shield() {
  const Future<int> work = number(7, 20ms);
  const Future<int> shielded = gen::shield(work);
  shielded.cancel();
  const int value = co_await work;
  fmt::print("cancelled: {}, but: {}\n", shielded.cancelled(), value);
}

Future<void> settled() {
  const auto good = co_await gen::settled(number(8));
  const auto bad = co_await gen::settled(number(-8));
  if (good) fmt::print("{}\n", good.value());
  if (!bad.has_value()) fmt::print("{}\n", log::describe(bad.error()));
  fmt::print("cancelled: {}\n", bad.cancelled());
}

Future<void> when_any() {
  const Future<int> slow = number(1, 50ms);
  const Future<int> quick = number(2, 10ms);
  const std::size_t first = co_await gen::when_any(slow, quick);
  fmt::print("{}: {}; the other goes on: {}\n", first, quick.result(), slow.running());
  co_await slow;
}

Future<void> wait_iterator() {
  gen::WaitIterator<int> results(number(1, 20ms), number(2, 10ms));
  while (auto result = co_await results.next()) {
    fmt::print("{} from {}\n", *result, *results.current_index());
  }

  std::map<std::string, Future<int>> by_name;
  by_name.emplace("good", number(3));
  by_name.emplace("bad", number(-3));
  gen::WaitIterator<int, std::string> named(std::move(by_name));
  while (!named.done()) {
    const auto result = co_await gen::settled(named.next());
    const bool failed = named.current_future()->exception() != nullptr;
    fmt::print("{} failed: {}, {}\n", *named.current_index(), failed, !result);
  }
}

Future<void> maybe_future() {
  const int value = co_await gen::maybe_future(42);
  const int other = co_await gen::maybe_future(number(9));
  co_await gen::maybe_future();
  fmt::print("{} {}\n", value, other);
}

void is_coroutine_function() {
  const auto plain = [](int x) { return x; };
  static_assert(gen::is_coroutine_function(number));
  static_assert(!gen::is_coroutine_function(plain));
  // Which one is meant has to be said where there are several.
  const auto generic = [](auto x) { return gen::maybe_future(x); };
  static_assert(gen::is_coroutine_function<int>(generic));
  fmt::print("checked\n");
}

Future<void> engine() {
  Future<int> done;
  const auto callback = gen::engine([done](int value) -> Future<void> {
    const int result = co_await number(value);
    done.set_result(result);
  });
  IOLoop::current().call_later(1ms, callback, 10);
  const int result = co_await done;
  fmt::print("{}\n", result);
}

void add_later(int a, int b, std::function<void(int)> callback) {
  IOLoop::current().call_later(1ms, [=] { callback(a + b); });
}

Future<void> task() {
  const int sum = co_await gen::Task<int>(add_later, 5, 6);
  fmt::print("{}\n", sum);

  auto forget = [](std::function<void()>) {};
  const auto end = co_await gen::settled(gen::Task<>(forget));
  try {
    end.value();
  } catch (const std::future_error& error) {
    fmt::print("broken promise: {}\n", error.code() == std::future_errc::broken_promise);
  }
}

namespace app {

struct Query {
  int key;
};

// Found by co_await, with_timeout and multi, since it stands in Query's namespace.
Future<std::string> convert_yielded(Query query) {
  const int answer = co_await number(query.key);
  co_return fmt::format("answer to {}", answer);
}

}  // namespace app

static_assert(gen::ConvertibleToFuture<app::Query>);
static_assert(!gen::ConvertibleToFuture<int>);

Future<void> ask() {
  const app::Query query{12};
  const std::string answer = co_await query;
  const std::string other = co_await gen::with_timeout(1s, query);
  fmt::print("{}, {}\n", answer, other);
}

int main() {
  IOLoop& io_loop = IOLoop::current();
  io_loop.run_sync(moment);
  io_loop.run_sync(rest);
  io_loop.run_sync(multi);
  io_loop.run_sync(multi_errors);
  io_loop.run_sync(multi_of_other_things);
  io_loop.run_sync(with_timeout);
  io_loop.run_sync(timeout_after);
  io_loop.run_sync(shield);
  io_loop.run_sync(settled);
  io_loop.run_sync(when_any);
  io_loop.run_sync(wait_iterator);
  io_loop.run_sync(maybe_future);
  is_coroutine_function();
  io_loop.run_sync(engine);
  io_loop.run_sync(task);
  io_loop.run_sync(ask);
}
