// SPDX-License-Identifier: Apache-2.0
#include "tornado/inspect.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#if defined(__GNUG__)
#include <cxxabi.h>
#endif
#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace tornado {
namespace detail {
namespace {

std::string demangled(const char* name) {
#if defined(__GNUG__)
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  if (text) return text.get();
#endif
  return name;
}

// g++ gives the function that resumes: `void f(f(int)::_Z1fi.Frame*)`.
std::string function_of(const Where& where) {
  const std::string_view name = where.function_name();
  const std::size_t end = name.rfind("::_Z");
  if (end == name.npos || !name.ends_with("Frame*)")) return std::string(name);
  int open = 1;
  std::size_t begin = name.size() - 1;
  while (begin > 0 && open > 0) {
    --begin;
    open += name[begin] == ')';
    open -= name[begin] == '(';
  }
  return std::string(name.substr(begin + 1, end - begin - 1));
}

std::string place_of(const Where& where) {
  return where.line() == 0
             ? function_of(where)
             : fmt::format("{} at {}:{}", function_of(where), where.file_name(), where.line());
}

std::string symbol_at(const void* address) {
#if !defined(_WIN32)
  Dl_info info;
  if (::dladdr(address, &info) != 0 && info.dli_saddr == address) return demangled(info.dli_sname);
#endif
  return fmt::format("the function at {}", address);
}

}  // namespace

std::string readable_name(const std::type_info& type) { return demangled(type.name()); }

/// What a node is, noted before it runs, since then it may be gone.
class LoopCore::Observed {
 public:
  explicit Observed(const Node& node) noexcept : type_(node.type()) {
    if (type_.address != nullptr) address_ = type_.address(node);
    if (const Suspension* waiter = Awaiter::waiter_of(node)) where_ = waiter->where;
  }
  std::string describe() const {
    if (where_.line() != 0) return fmt::format("a coroutine, {}", place_of(where_));
    if (address_ != nullptr) return symbol_at(address_);
    if (type_.name != nullptr) return fmt::format("a callback of type {}", type_.name());
    return "a callback of the library's own";
  }

 private:
  const Node::Type& type_;
  const void* address_ = nullptr;
  Where where_;
};

void LoopCore::run_observed(Node& node) noexcept {
  const Observed observed(node);
  const auto begin = IOLoop::Clock::now();
  node.handle(Node::Event::run);
  const auto time = IOLoop::Clock::now() - begin;
  if (time >= slow_) report_slow(time, observed.describe());
}

void LoopCore::report_slow(IOLoop::Clock::duration time, const std::string& what) noexcept {
  log::app_log.warning("{} took {:.3f} s", what, std::chrono::duration<double>(time).count());
}

std::vector<inspect::Coroutine> LoopCore::coroutines() const {
  std::vector<const Suspension*> all;
  frames_.for_each([&all](const Suspension& frame) {
    if (frame.suspended()) all.push_back(&frame);
  });
  std::sort(all.begin(), all.end(),
            [](const Suspension* a, const Suspension* b) { return b->called_after(*a); });
  std::vector<inspect::Coroutine> coroutines;
  coroutines.reserve(all.size());
  for (const Suspension* frame : all) {
    coroutines.push_back({frame->number(), function_of(frame->where),
                          frame->where.line() == 0 ? "" : frame->where.file_name(),
                          frame->where.line(), frame->describe_wait()});
  }
  return coroutines;
}

inspect::Metrics LoopCore::metrics() const {
  inspect::Metrics metrics;
  metrics.turns = turns_;
  metrics.callbacks = callbacks_run_;
  metrics.queued = ready_.size() + added_.size();
  metrics.timeouts = timers_.size();
  metrics.handlers = poll_set_ ? poll_set_->size() : 0;
  metrics.coroutines = frames_.size();
  if (measured_since_ != TimerNode::TimePoint()) {
    const auto now = IOLoop::Clock::now();
    metrics.busy = busy_ + (depth_ > 0 ? now - turn_began_ : IOLoop::Clock::duration());
    metrics.idle = now - measured_since_ - metrics.busy;
  }
  return metrics;
}

void LoopCore::measure_time(bool on) noexcept {
  const auto now = IOLoop::Clock::now();
  measured_since_ = on ? now : TimerNode::TimePoint();
  turn_began_ = now;
  busy_ = {};
}

std::string describe(const std::vector<inspect::Coroutine>& coroutines) {
  std::string text;
  for (const inspect::Coroutine& each : coroutines) {
    text += fmt::format("coroutine {}: {}", each.number, each.function);
    if (each.line != 0) text += fmt::format(" at {}:{}", each.file, each.line);
    text += fmt::format(" waits for {}\n", each.waits_for);
  }
  return text;
}

void LoopCore::log_leaks() const {
  const auto left = coroutines();
  if (left.empty()) return;
  log::app_log.warning("the loop is closed with {} coroutine{} suspended:\n{}", left.size(),
                       left.size() == 1 ? "" : "s", describe(left));
}

}  // namespace detail

namespace inspect {

std::vector<Coroutine> coroutines(IOLoop& loop) { return detail::LoopCore::of(loop).coroutines(); }
std::string dump(IOLoop& loop) { return detail::describe(coroutines(loop)); }
void dump_on_signal(IOLoop& loop, int signo) {
  loop.add_signal_handler(signo, [&loop] {
    const auto all = coroutines(loop);
    log::app_log.warning("{} coroutine{} suspended\n{}", all.size(),
                         all.size() == 1 ? " is" : "s are", detail::describe(all));
  });
}
Metrics metrics(IOLoop& loop) { return detail::LoopCore::of(loop).metrics(); }
void measure_time(IOLoop& loop, bool on) { detail::LoopCore::of(loop).measure_time(on); }
void report_slow_callbacks(IOLoop& loop, std::chrono::nanoseconds threshold) {
  detail::LoopCore::of(loop).set_slow(threshold);
}
void report_leaks(IOLoop& loop, bool on) { detail::LoopCore::of(loop).set_report_leaks(on); }

}  // namespace inspect
}  // namespace tornado
