// SPDX-License-Identifier: Apache-2.0
#include "tornado/ioloop.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include <unistd.h>

namespace tornado {
namespace {

/// This thread's current loop. Another thread may have closed it: its number tells.
struct CurrentLoop {
  IOLoop* loop = nullptr;
  std::uint64_t number = 0;
};
constinit thread_local CurrentLoop current_loop;

/// The numbers of the loops that are open.
class OpenLoops {
 public:
  std::uint64_t add() {
    const std::lock_guard lock(mutex_);
    numbers_.insert(++made_);
    return made_;
  }
  void remove(std::uint64_t number) noexcept {
    const std::lock_guard lock(mutex_);
    numbers_.erase(number);
  }
  bool contains(std::uint64_t number) noexcept {
    const std::lock_guard lock(mutex_);
    return numbers_.contains(number);
  }

 private:
  std::mutex mutex_;
  std::uint64_t made_ = 0;
  std::unordered_set<std::uint64_t> numbers_;
};

// Never destroyed, so that loops may be closed while static objects are.
OpenLoops& open_loops() {
  static OpenLoops* const loops = new OpenLoops;
  return *loops;
}

/// The loop that current() made for this thread.
std::unique_ptr<IOLoop>& thread_loop() {
  thread_local std::unique_ptr<IOLoop> loop;
  return loop;
}

}  // namespace

namespace detail {

SyncCall::~SyncCall() = default;

LoopCore& LoopCore::current() {
  LoopCore* core = running();
  if (core == nullptr) core = IOLoop::current().core_.get();
  core->require_own_process("IOLoop::current");
  return *core;
}

LoopCore& LoopCore::of(IOLoop& loop) {
  if (loop.core_->closed()) throw std::logic_error("the loop has been closed");
  return *loop.core_;
}

AsCurrent::AsCurrent(IOLoop& loop)
    : previous_(current_loop.loop), previous_number_(current_loop.number) {
  const LoopCore* running = LoopCore::running();
  if (running != nullptr && running != loop.core_.get()) {
    throw std::logic_error("IOLoop::run_in_executor: another loop is running on this thread");
  }
  loop.make_current();
}

AsCurrent::~AsCurrent() { current_loop = {previous_, previous_number_}; }

std::unique_ptr<IOLoop> LoopCore::make_loop(const AsioContext& context,
                                            IOLoop::MakeCurrent make_current) {
  return std::unique_ptr<IOLoop>(new IOLoop(context, make_current));
}

void TimerNode::start() { start(LoopCore::current()); }
void TimerNode::start(LoopCore& core) { core.add_timer(*this); }
void TimerNode::stop() noexcept {
  if (loop != nullptr) loop->remove_timer(*this);
  loop = nullptr;
}

void SharedTimer::remove() noexcept {
  if (loop == nullptr) return;
  stop();
  handle(Event::drop);
}

}  // namespace detail

IOLoop::IOLoop(MakeCurrent make_current)
    : core_(std::make_shared<detail::LoopCore>(*this)), number_(open_loops().add()) {
  if (make_current == MakeCurrent::always ||
      (make_current == MakeCurrent::if_none && current_or_null() == nullptr)) {
    this->make_current();
  }
}

IOLoop::IOLoop(const detail::AsioContext& context, MakeCurrent make_current)
    : core_(std::make_shared<detail::LoopCore>(*this, &context)), number_(open_loops().add()) {
  core_->adapt();
  if (make_current == MakeCurrent::always ||
      (make_current == MakeCurrent::if_none && current_or_null() == nullptr)) {
    this->make_current();
  }
}

IOLoop::~IOLoop() {
  if (core_->forked() && core_->is_running()) {
    // A child that exits inside a callback: all of this is in use, further down on the stack.
    open_loops().remove(number_);
    detail::keep_for_ever(std::move(core_));
    return;
  }
  try {
    close();
  } catch (const std::logic_error&) {
    detail::fatal("an IOLoop was destroyed inside one of its own callbacks");
  }
}

IOLoop& IOLoop::current() {
  if (IOLoop* loop = current_or_null()) {
    loop->core_->require_own_process("IOLoop::current");
    return *loop;
  }
  auto& own = thread_loop();
  own = std::make_unique<IOLoop>(MakeCurrent::always);
  return *own;
}

IOLoop* IOLoop::current_or_null() noexcept {
  if (detail::LoopCore* core = detail::LoopCore::running()) return &core->owner();
  if (current_loop.loop != nullptr && !open_loops().contains(current_loop.number)) {
    current_loop = {};
  }
  return current_loop.loop;
}

void IOLoop::make_current() noexcept { current_loop = {this, number_}; }

void IOLoop::clear_current() {
  if (detail::LoopCore::running() != nullptr) {
    throw std::logic_error("IOLoop::clear_current: a loop is running on this thread");
  }
  current_loop = {};
  thread_loop().reset();
}

void IOLoop::start() { core_->run(); }

void IOLoop::stop() { core_->stop(); }

void IOLoop::close(bool all_fds) {
  core_->close(all_fds);
  open_loops().remove(number_);
  default_executor_.reset();
}

void IOLoop::add_job(detail::Node* job) {
  if (core_->forked()) {
    job->handle(detail::Node::Event::drop);
    core_->require_own_process("IOLoop::add_callback");
  }
  core_->post(*job);
}

bool IOLoop::add_callback_from_signal(void (*callback)(void*), void* argument) noexcept {
  return !core_->forked() && core_->signal(callback, argument);
}

Deadline IOLoop::deadline_at(double when) {
  if (std::isnan(when)) {
    throw std::invalid_argument("IOLoop::call_at: the time is not a number (NaN)");
  }
  return Deadline(std::chrono::time_point<Clock, std::chrono::duration<double>>(
      std::chrono::duration<double>(when)));
}

Timeout IOLoop::schedule(detail::SharedTimer* timer) {
  detail::Ref<detail::SharedTimer> handle(timer);
  if (!core_->closed()) {
    core_->require_own_process("IOLoop::call_at");
    timer->add_ref();  // the queue's
    timer->start(*core_);
  }
  return Timeout(std::move(handle));
}

void IOLoop::remove_timeout(const Timeout& timeout) noexcept {
  if (timeout.node_) timeout.node_->remove();
}

double IOLoop::time() const noexcept {
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

void IOLoop::add_handler(native_handle_type fd, Handler handler, int events) {
  core_->poll_set().add(fd, std::move(handler), events);
}

void IOLoop::add_object_handler(native_handle_type fd, Handler handler, int events,
                                std::function<void()> close_object) {
  core_->poll_set().add(fd, std::move(handler), events, std::move(close_object));
}

void IOLoop::close_fd(native_handle_type fd) noexcept { ::close(fd); }

void IOLoop::update_handler(native_handle_type fd, int events) {
  core_->poll_set().update(fd, events);
}

void IOLoop::remove_handler(native_handle_type fd) noexcept {
  if (detail::PollSet* set = core_->poll_set_or_null()) set->remove(fd);
}

void IOLoop::set_exception_handler(std::function<void(std::exception_ptr)> handler) {
  core_->set_exception_handler(std::move(handler));
}

void IOLoop::run_call(const std::shared_ptr<detail::SyncCall>& call,
                      const std::optional<Deadline>& timeout) {
  core_->require_startable();  // or the call would be left behind for the next start()
  add_callback([this, call] { call->begin_and_stop(*this); });
  bool timed_out = false;
  Timeout timer;
  if (timeout) {
    timer = add_timeout(*timeout, [this, call, &timed_out] {
      timed_out = true;
      // Where the coroutine can be asked, its end is waited for.
      if (call->state() == nullptr || !call->state()->cancel()) stop();
    });
  }
  start();
  remove_timeout(timer);
  call->wanted = false;

  detail::StateBase* state = call->state();
  const bool done = state != nullptr && state->done();
  if (timed_out && (!done || state->status() == detail::Status::cancelled)) {
    throw TimeoutError("IOLoop::run_sync: the operation timed out");
  }
  if (!done) {
    throw std::logic_error("IOLoop::run_sync: the loop was stopped before the operation was done");
  }
}

}  // namespace tornado
