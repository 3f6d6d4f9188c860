// SPDX-License-Identifier: Apache-2.0
//
// An example for each name in <tornado/inspect.hpp>; docs/reference/inspect.md quotes them.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <string_view>

using namespace std::chrono_literals;
using namespace tornado;

Future<void> answer(Future<void> question) { co_await question; }

Future<void> ask(Future<void> question) {
  Future<void> answered = answer(question);
  co_await answered;
}

void print_coroutines() {
  for (const inspect::Coroutine& each : inspect::coroutines(IOLoop::current())) {
    fmt::print("{} waits for {}\n", each.number, each.waits_for);
  }
}

void print_dump() {
  const std::string text = inspect::dump(IOLoop::current());
  fmt::print("{}", text.empty() ? "nothing is suspended\n" : text);
}

void print_figures() {
  IOLoop& loop = IOLoop::current();
  const Timeout timeout = loop.call_later(1h, [] {});
  const inspect::Metrics figures = inspect::metrics(loop);
  fmt::print("{} timeout, {} coroutines\n", figures.timeouts, figures.coroutines);
  loop.remove_timeout(timeout);
}

void print_share() {
  IOLoop& loop = IOLoop::current();
  inspect::measure_time(loop);
  loop.run_sync([] { return gen::sleep(10ms); });
  const inspect::Metrics figures = inspect::metrics(loop);
  fmt::print("it was idle more than busy: {}\n", figures.idle > figures.busy);
  inspect::measure_time(loop, false);
}

void find_slow() {
  set_log_sink([](const LogRecord& record) {
    fmt::print("slow: {}\n", record.message.find("took 0.0") != record.message.npos);
  });
  IOLoop& loop = IOLoop::current();
  inspect::report_slow_callbacks(loop, 10ms);
  loop.run_sync([] {
    const auto end = std::chrono::steady_clock::now() + 20ms;
    while (std::chrono::steady_clock::now() < end) {
    }
  });
  inspect::report_slow_callbacks(loop, 0ms);
  set_log_sink({});
}

void find_leaks() {
  set_log_sink([](const LogRecord& record) {
    const std::string_view text = record.message;
    fmt::print("{}\n", text.substr(0, text.find(':')));
  });
  IOLoop loop;
  loop.make_current();
  inspect::report_leaks(loop);
  const Future<void> left = answer({});
  loop.close();
  set_log_sink({});
}

void print_on_signal() {
  set_log_sink([](const LogRecord& record) {
    const std::string_view text = record.message;
    fmt::print("{}\n", text.substr(0, text.find('\n')));
    IOLoop::current().stop();
  });
  IOLoop& loop = IOLoop::current();
  inspect::dump_on_signal(loop, SIGUSR1);
  std::raise(SIGUSR1);
  loop.start();
  loop.remove_signal_handler(SIGUSR1);
  set_log_sink({});
}

int main() {
  Future<void> question;
  const Future<void> asked = ask(question);
  print_coroutines();
  print_figures();
  question.set_result();
  IOLoop::current().run_sync([&asked] { return asked; });
  print_dump();
  print_on_signal();
  print_share();
  find_slow();
  find_leaks();
}
