// SPDX-License-Identifier: Apache-2.0
#include "loop_core.hpp"

#include "context_service.hpp"
#include "stream_options.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace tornado::detail {
namespace {

constinit thread_local LoopCore* running_core = nullptr;

// So many resumptions in one turn before the reactor is asked again.
constexpr int turn_budget = 1024;

// Asio closes the descriptors it is given; the ring's has to outlive the context.
int duplicate(int descriptor) {
  const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw std::system_error(errno, std::system_category(), "dup");
  return copy;
}

}  // namespace

void fatal(const char* message) noexcept {
  std::fprintf(stderr, "tornado: %s\n", message);
  std::abort();
}

// Before Asio 1.27 io_context's own members die before its services have let go of their handlers.
class LoopCore::Context : public asio::io_context {
 public:
  // One thread runs it; others only post.
  Context() : asio::io_context(ASIO_CONCURRENCY_HINT_UNSAFE_IO) {}
  ~Context() { shutdown(); }
};

// What was added in a run() that ended. One entry of posted_, so that callbacks which this thread
// adds from outside do not overtake; and a list of the loop's own, since a wait that is cancelled
// leaves its list without a lock.
class LoopCore::LeftBehind final : public Node {
 public:
  explicit LeftBehind(List<Node>& nodes) noexcept : Node(node_type<&on_event, Kind::job>) {
    nodes_.splice(nodes);
  }

 private:
  static void on_event(Node* node, Event event) noexcept {
    const std::unique_ptr<LeftBehind> self(static_cast<LeftBehind*>(node));
    while (Node* left = self->nodes_.pop_front()) left->handle(event);
  }

  List<Node> nodes_;
};

LoopCore::LoopCore(IOLoop& owner, const AsioContext* context)
    : owner_(owner),
      adapted_(context != nullptr),
      owned_(adapted_ ? nullptr : std::make_unique<Context>()),
      io_(adapted_ ? context->io : owned_.get()),
      strand_(adapted_ ? context->strand : std::nullopt),
      timer_(std::in_place, *io_),
      signal_descriptor_(std::in_place, *io_, duplicate(signals_.descriptor())) {
  spare_outgoing_.reserve(16);
  if (adapted_) return;
  work_.emplace(asio::make_work_guard(*io_));
  wait_for_signal();
}

void LoopCore::adapt() {
  // After Asio's own services were begun above, so that they are still there when it hears that the
  // context ends.
  asio::use_service<ContextService>(static_cast<asio::execution_context&>(*io_)).add(*this);
  post_handler([this] { open_signal_door(); });
}

LoopCore::~LoopCore() = default;

LoopCore* LoopCore::running() noexcept { return running_core; }

void LoopCore::end_child() noexcept {
  fatal(
      "a forked child returned into the loop that its parent runs. Fork before there is a loop, or "
      "leave the child by exec or _exit.");
}

LoopCore::Turn::Turn(LoopCore& core) noexcept
    : core_(core), outer_(std::exchange(running_core, &core)) {
  if (core_.adapted_) core_.enter();
  if (core_.depth_++ > 0) return;
  ++core_.turns_;
  if (core_.measured_since_ != TimerNode::TimePoint()) core_.turn_began_ = IOLoop::Clock::now();
}

LoopCore::Turn::~Turn() {
  core_.end_if_forked();
  if (core_.depth_ == 1) {
    core_.drain();
    if (core_.measured_since_ != TimerNode::TimePoint()) {
      core_.busy_ += IOLoop::Clock::now() - core_.turn_began_;
    }
  }
  --core_.depth_;
  running_core = outer_;
  if (core_.adapted_ && core_.depth_ == 0) core_.leave();
}

void LoopCore::enter() noexcept {
  const void* other = nullptr;
  if (thread_.compare_exchange_strong(other, &running_core)) {
    advance_frame_number(frames_numbered_);  // see run()
  } else if (other != &running_core) {
    fatal(
        "two threads run the callbacks of one IOLoop at the same time. Run the io_context that it "
        "adapts on one thread, or adapt a strand of it");
  }
}

void LoopCore::leave() noexcept {
  frames_numbered_ = advance_frame_number(0);
  thread_ = nullptr;
}

bool LoopCore::on_other_thread() const noexcept {
  if (!adapted_) return running_ && running_core != this;
  const void* const thread = thread_;
  return thread != nullptr && thread != &running_core;
}

void LoopCore::require_startable() const {
  if (closed_) throw std::logic_error("IOLoop::start: the loop has been closed");
  require_own_process("IOLoop::start");
  if (running_core == this || running_) {
    throw std::logic_error("IOLoop::start: the loop is running already");
  }
  if (running_core != nullptr) {
    throw std::logic_error("IOLoop::start: another loop is running on this thread");
  }
}

void LoopCore::run() {
  require_startable();
  if (stop_.exchange(false)) return;
  auto work = asio::make_work_guard(*io_);  // an application's context has no other
  running_core = this;
  running_ = true;
  // Frames are numbered per thread, and this loop may have come from another one.
  advance_frame_number(frames_numbered_);
  iterations_alone_ = 0;
  io_->restart();
  while (!io_->stopped()) {
    try {
      io_->run();
    } catch (...) {  // from a handler that the program gave to the io_context itself
      report(std::current_exception());
    }
  }
  frames_numbered_ = advance_frame_number(0);
  const bool stopped = stop_.exchange(false);
  running_ = false;
  running_core = nullptr;
  work.reset();
  if (adapted_) {
    if (stopped) io_->restart();  // as the application left it
    return;
  }
  if (added_.empty()) return;
  auto* left = new LeftBehind(added_);
  const std::lock_guard lock(mutex_);
  posted_.push_back(*left);
  has_posted_ = true;
}

void LoopCore::stop() noexcept {
  if (closed_) return;
  stop_ = true;
  if (!adapted_ || running_) io_->stop();
}

void LoopCore::schedule(Node& node) noexcept {
  if (on_other_thread()) {
    fatal(
        "a Future was completed, or waited for, on a thread that is not its loop's. Use "
        "RemotePromise, or IOLoop::add_callback, to get there.");
  }
  ready_.push_back(node);
  if (depth_ == 0 && !closed_) post_drain();
}

void LoopCore::post_drain() noexcept {
  if (std::exchange(drain_posted_, true)) return;
  post_handler([this] {
    drain_posted_ = false;
    const Turn turn(*this);
  });
}

void LoopCore::drain() noexcept {
  settle();
  if (!arming_.empty()) arm_reads();
  if (!ready_.empty() || !dirty_.empty()) post_drain();
  arm_timer();
  if (adapted_) settle_work();
}

/// Runs what is ready, and what becomes so, and sends what that has written.
void LoopCore::settle() noexcept {
  int budget = turn_budget;
  for (;;) {
    while (budget > 0) {
      Node* node = ready_.pop_front();
      if (node == nullptr) break;
      --budget;
      run_node(*node);
    }
    if (dirty_.empty()) break;
    flush_dirty();
  }
}

void LoopCore::add_timer(TimerNode& timer) {
  timer.loop = this;
  timers_.add(timer);
  if (depth_ == 0 && !closed_) arm_timer();
}

void LoopCore::arm_timer() {
  if (timers_.size() == 0) return;
  const auto next = timers_.next();
  if (next >= armed_) return;
  armed_ = next;
  timer_->expires_at(next);
  with_handler(
      [this](const std::error_code& error) {
        if (!error) run_due();
      },
      [this](auto handler) { timer_->async_wait(std::move(handler)); });
}

void LoopCore::run_due() noexcept {
  const Turn turn(*this);
  armed_ = TimerNode::TimePoint::max();
  timers_.collect_due(IOLoop::Clock::now());
  while (TimerNode* timer = timers_.pop_due()) run_node(*timer);
}

PollSet& LoopCore::poll_set() {
  if (closed_) throw std::logic_error("IOLoop::add_handler: the loop has been closed");
  require_own_process("IOLoop::add_handler");
  if (!poll_set_) poll_set_ = std::make_unique<PollSet>(*this);
  return *poll_set_;
}

void LoopCore::wait_for_signal() {
  const auto wait_read = asio::posix::stream_descriptor::wait_read;
  if (strand_) {
    // A handler that is bound to a strand counts as work for itself.
    signal_descriptor_->async_wait(wait_read,
                                   [this, core = shared_from_this()](const std::error_code& error) {
                                     if (!error) post_handler([this] { on_signal(); });
                                   });
    return;
  }
  with_handler(
      [this](const std::error_code& error) {
        if (!error) on_signal();  // else the loop closes
      },
      [this, wait_read](auto handler) {
        signal_descriptor_->async_wait(wait_read, std::move(handler));
      });
}

void LoopCore::on_signal() noexcept {
  const Turn turn(*this);
  std::uint64_t count;
  while (::read(signals_.descriptor(), &count, sizeof count) > 0) {
  }
  signals_.pop_all([](SignalRing::Callback callback, void* argument) {
    try {
      callback(argument);
    } catch (...) {
      report_callback_exception();
    }
  });
  if (signal_handlers_) signal_handlers_->dispatch();
  wait_for_signal();
}

// The door is open as long as the application runs its context, but must not be what keeps it
// running: the wait is not counted. Here a handler runs, which is counted, so that the count does
// not come to zero, and the context does not stop; each new wait takes the place of the last one's
// handler; and close() evens it out.
void LoopCore::open_signal_door() {
  wait_for_signal();
  io_->get_executor().on_work_finished();
  signal_is_free_ = true;
}

/// An adapted context is kept running by what other threads are to complete.
void LoopCore::count_remotes() noexcept {
  if (std::exchange(counts_remotes_, true)) return;
  io_->get_executor().on_work_started();
}

/// An adapted context is not kept running by what has been taken back.
void LoopCore::settle_work() noexcept {
  if (timers_.size() == 0 && armed_ != TimerNode::TimePoint::max()) {
    armed_ = TimerNode::TimePoint::max();
    timer_->cancel();
  }
  if (counts_remotes_ && remotes_.empty()) release_work();
}

// In a handler: a count that comes to zero elsewhere would stop the context before it runs.
void LoopCore::release_work() noexcept {
  counts_remotes_ = false;
  asio::post(*io_, [io = io_] { io->get_executor().on_work_finished(); });
}

void LoopCore::require_own_process(const char* call) const {
  if (!forked()) return;
  throw std::logic_error(fmt::format(
      "{}: the loop was made before a fork of which this is the child; make loops after "
      "the fork, or call IOLoop::clear_current() in the child and make a new one",
      call));
}

// The system's sets are shared with the parent: taking a descriptor out would be done to the
// parent.
void LoopCore::leave_parent() noexcept {
  if (!forked() || closed_ || adapted_ || std::exchange(left_parent_, true)) return;
  try {
    io_->notify_fork(asio::execution_context::fork_child);
  } catch (const std::exception&) {
    // Not all descriptors are in its new set. Nobody will wait for them.
  }
}

void LoopCore::report(std::exception_ptr error) noexcept {
  if (exception_handler_) {
    try {
      exception_handler_(error);
      return;
    } catch (...) {
      log::log_exception(log::app_log, "Exception in the exception handler",
                         std::current_exception());
    }
  }
  log::log_exception(log::app_log, "Exception in callback", error);
}

void LoopCore::close(bool all_fds, bool context_ends) {
  if (closed_) return;
  if (depth_ > 0 || running_) {
    throw std::logic_error("IOLoop::close: called inside a callback of the loop");
  }
  {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }
  if (reports_leaks_) log_leaks();
  leave_parent();
  context_ends_ = context_ends;
  closed_ = true;  // nothing is scheduled any more: what is completed now is only recorded
  signals_.close();
  LoopCore* outer = std::exchange(running_core, this);
  destroy_frames();
  while (LoopClient* client = clients_.pop_front()) client->on_loop_close();
  drop_all();
  // Handlers of the program's own, and destructors of what was dropped, may have begun again.
  destroy_frames();
  signal_handlers_.reset();
  if (all_fds && poll_set_) poll_set_->close_descriptors();
  poll_set_.reset();
  timer_.reset();
  signal_descriptor_.reset();
  if (adapted_ && !context_ends) {
    asio::use_service<ContextService>(static_cast<asio::execution_context&>(*io_)).remove(*this);
    if (signal_is_free_) io_->get_executor().on_work_started();
    if (counts_remotes_) release_work();
  }
  recent_options_ = {};               // counted without a lock: not to be left to another thread
  if (context_ends) strand_.reset();  // it refers to the context
  work_.reset();
  owned_.reset();
  io_ = nullptr;
  do {
    destroy_frames();
    drop_all();
  } while (!frames_.empty());
  running_core = outer;
}

void LoopCore::destroy_frames() noexcept {
  std::vector<Suspension*> frames;
  while (!frames_.empty()) {
    frames.clear();
    frames_.for_each([&frames](Suspension& frame) { frames.push_back(&frame); });
    detail::destroy_frames(frames);
  }
}

void LoopCore::drop_all() noexcept {
  const auto drop = [](List<Node>& list) {
    while (Node* node = list.pop_front()) node->handle(Node::Event::drop);
  };
  for (;;) {
    if (CallbackLink* link = callbacks_.pop_front()) {
      auto& callback = static_cast<StateCallback&>(*link);
      static_cast<Node&>(callback).unlink();
      callback.drop_waiting();
    } else if (RemoteCell::Link* remote = remotes_.pop_front()) {
      remote->cell.detach();
    } else if (TimerNode* timer = timers_.pop_any()) {
      timer->handle(Node::Event::drop);
    } else if (!ready_.empty()) {
      drop(ready_);
    } else if (!added_.empty()) {
      drop(added_);
    } else {
      List<Node> posted;
      {
        const std::lock_guard lock(mutex_);
        posted.splice(posted_);
      }
      if (posted.empty() && arming_.empty() && dirty_.empty()) return;
      drop(posted);
      for (auto* list : {&dirty_, &arming_}) {
        for (LoopClient* client : std::exchange(*list, {})) client->release();
      }
    }
  }
}

}  // namespace tornado::detail
