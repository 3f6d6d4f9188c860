// SPDX-License-Identifier: Apache-2.0
//
// What an IOLoop is made of: the Asio context, the queues, and the turn that empties them.
//
// Reference-counted: streams and remote promises keep it when the IOLoop has gone. Belongs to the
// loop's thread, but for post(), which any thread may call.
#pragma once

#include "fork.hpp"
#include "outgoing.hpp"
#include "poll_set.hpp"
#include "signal_ring.hpp"
#include "signals.hpp"
#include "timer_queue.hpp"
#include "tornado/detail/callback.hpp"
#include "tornado/detail/runner.hpp"
#include "tornado/inspect.hpp"
#include "tornado/ioloop.hpp"

#include <asio/bind_executor.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tornado {
struct IOStreamOptions;
}  // namespace tornado

namespace tornado::detail {

/// Ends the program: a rule was broken whose consequences cannot be undone.
[[noreturn]] void fatal(const char* message) noexcept;

/// How many coroutines wait for `state`.
int count_awaiters(const StateBase& state) noexcept;
/// True when `state` has one awaiter: an awaited Future is cancelled only with its last.
bool only_awaiter(const StateBase& state) noexcept;

/// Origin::collect_frames of what `state` stands for, if it has one awaiter.
bool collect_frames_behind(const StateBase& state, std::vector<Suspension*>& frames);
/// Destroys suspended frames, the newest call first: a callee's locals may refer to its caller's.
void destroy_frames(std::vector<Suspension*>& frames) noexcept;
/// Destroys the frame of the coroutine behind `state`, if there is one, with those of the
/// coroutines that it alone waits for. Does nothing when one of them runs now.
void destroy_coroutine(const StateBase& state) noexcept;

/// This thread's frame counter, after raising it to `least`.
std::uint64_t advance_frame_number(std::uint64_t least) noexcept;

/// What a loop does for a stream at the end of its turn, and when it closes.
class LoopClient : public Hook, public Origin {
 public:
  // So many reads are tried for one stream, while more is there, before the others get their turn.
  // In a row they find their memory, and the system its own, in the cache; taking turns they do
  // not. Measured with 4 connections: 19 us of CPU time per 64 KiB, 35 to 41 in turns.
  static constexpr std::size_t reads_in_a_row = 16;

  void add_ref() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) destroy();
  }

  /// Sends what was written.
  virtual void flush() noexcept = 0;
  /// Goes on with the read that waits: tries, and has the backend wait if it must. Takes what it
  /// tries off `reads`, which it may use up. \returns whether more is likely to be there at once.
  virtual bool arm(std::size_t& reads) noexcept = 0;
  /// The loop goes: lets go of everything that belongs to it.
  virtual void on_loop_close() noexcept = 0;

 protected:
  LoopClient() = default;
  virtual ~LoopClient() = default;

 private:
  friend class LoopCore;
  virtual void destroy() noexcept { delete this; }

  std::uint32_t refs_ = 1;
  bool dirty_ = false;
  bool arming_ = false;
};

/// An application's context, or a strand of it, for a loop to adapt.
struct AsioContext {
  asio::io_context* io;
  std::optional<asio::strand<asio::io_context::executor_type>> strand;
};

/// Memory for Asio's operations from this thread's lists: Asio by itself keeps two.
template <class T>
class HandlerAllocator {
 public:
  using value_type = T;
  HandlerAllocator() = default;
  template <class U>
  explicit(false) HandlerAllocator(const HandlerAllocator<U>&) noexcept {}
  T* allocate(std::size_t count) { return static_cast<T*>(detail::allocate(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t count) noexcept {
    detail::deallocate(memory, count * sizeof(T));
  }
  friend bool operator==(HandlerAllocator, HandlerAllocator) noexcept { return true; }
};

/// `F` as a handler whose operation is allocated so.
template <class F>
class AllocatingHandler {
 public:
  using allocator_type = HandlerAllocator<void>;
  explicit AllocatingHandler(F&& f) : f_(std::move(f)) {}
  allocator_type get_allocator() const noexcept { return {}; }
  template <class... Args>
  void operator()(Args&&... args) {
    f_(std::forward<Args>(args)...);
  }

 private:
  F f_;
};

class StreamOptions;

class LoopCore : public std::enable_shared_from_this<LoopCore> {
 public:
  /// With a context of its own, or an application's: then adapt() is to follow.
  explicit LoopCore(IOLoop& owner, const AsioContext* context = nullptr);
  void adapt();
  ~LoopCore();

  /// The core of IOLoop::current().
  static LoopCore& current();
  /// The core whose turn, or start(), is on this thread's stack.
  static LoopCore* running() noexcept;

  /// \throws std::logic_error  when the loop has been closed.
  static LoopCore& of(IOLoop& loop);
  /// A loop that adapts an application's context.
  static std::unique_ptr<IOLoop> make_loop(const AsioContext& context,
                                           IOLoop::MakeCurrent make_current);

  asio::io_context& io() noexcept { return *io_; }
  /// That of its handlers, for who asks; here they are posted with less ado.
  const std::optional<asio::strand<asio::io_context::executor_type>>& strand() const noexcept {
    return strand_;
  }
  /// The context is the application's.
  bool adapted() const noexcept { return adapted_; }

  /// Begins an Asio operation, by `start(handler)`, whose handler calls `f`. An application's
  /// context may outlive the loop: there the handler holds the core, and calls nothing when the
  /// loop has been closed. The loop's own context takes all its handlers with it.
  template <class F, class Start>
  void with_handler(F f, Start start) {
    if (!adapted_) {
      start(AllocatingHandler<F>(std::move(f)));
      return;
    }
    auto guarded = [core = shared_from_this(), f = std::move(f)](const auto&... args) mutable {
      if (!core->closed()) f(args...);
    };
    if (strand_) {
      start(asio::bind_executor(*strand_, std::move(guarded)));
    } else {
      start(std::move(guarded));
    }
  }
  /// Has Asio call `f` later. From any thread, while the loop is open.
  template <class F>
  void post_handler(F f) {
    with_handler(std::move(f), [this](auto handler) {
      if (strand_) {
        asio::post(*strand_, std::move(handler));
      } else {
        asio::post(*io_, std::move(handler));
      }
    });
  }
  IOLoop& owner() noexcept { return owner_; }

  /// One Asio handler of ours: the loop is current meanwhile, and what it caused follows at its
  /// end.
  class Turn {
   public:
    explicit Turn(LoopCore& core) noexcept;
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    LoopCore& core_;
    LoopCore* outer_;
  };

  /// \throws std::logic_error  when run() would.
  void require_startable() const;
  void run();
  void stop() noexcept;
  /// \param context_ends  because the application's context is being destroyed.
  void close(bool all_fds, bool context_ends = false);
  bool closed() const noexcept { return closed_; }
  /// Inside start(), on whatever thread.
  bool is_running() const noexcept { return running_; }

  /// Made before a fork of which this is the child.
  bool forked() const noexcept { return generation_ != fork_generation(); }
  /// Behind each piece of the program's own code: what a child did from here on, it would do in its
  /// parent's place.
  void end_if_forked() const noexcept {
    if (forked()) end_child();
  }
  /// \throws std::logic_error  when forked(); `call` is what was asked for.
  void require_own_process(const char* call) const;
  /// In a forked child: what is closed from now on goes on in the parent.
  void leave_parent() noexcept;
  /// The loop closes because its context is being destroyed.
  bool context_ends() const noexcept { return context_ends_; }

  /// The number of this turn, 1 or more; 0 outside of one.
  std::uint64_t turn() const noexcept { return depth_ > 0 ? turns_ : 0; }
  /// Runs `node` in this turn, behind what is queued; outside a turn in one that is posted.
  void schedule(Node& node) noexcept;
  /// Runs `node` in the next iteration. Loop's thread.
  void next_iteration(Node& node) noexcept;
  /// As next_iteration, from any thread. False, and `node` was dropped, when the loop is closed.
  bool post(Node& node) noexcept;

  void add_timer(TimerNode& timer);
  void remove_timer(TimerNode& timer) noexcept {
    timers_.remove(timer);
    if (adapted_ && depth_ == 0 && !closed_) settle_work();
  }

  /// At the end of the turn `client` is flushed, or armed.
  void add_dirty(LoopClient& client) noexcept;
  void add_arming(LoopClient& client) noexcept;
  void add_client(LoopClient& client) noexcept { clients_.push_back(client); }

  void add_frame(Suspension& frame) noexcept { frames_.push_back(frame); }
  void add_callback(StateCallback& callback) noexcept { callbacks_.push_back(callback); }
  void add_remote(RemoteCell::Link& link) noexcept {
    remotes_.push_back(link);
    if (adapted_ && !closed_) count_remotes();
  }

  /// Scratch memory of `size` bytes or more, valid until the next call.
  char* chunk(std::size_t size) {
    if (chunk_.size() < size) chunk_.resize(size);
    return chunk_.data();
  }
  /// Its first `count` bytes as a string: the memory itself when most of it is used.
  std::string take_chunk(std::size_t count);
  /// Memory that may serve as the next one.
  void recycle(std::string&& memory) noexcept {
    if (memory.size() > chunk_.size() && memory.capacity() <= most_recycled) {
      chunk_ = std::move(memory);
    }
  }

  /// For a stream; those of the one before if they are the same.
  Ref<StreamOptions> share_options(const IOStreamOptions& options);
  /// For a stream that has something to send, until it has been sent.
  std::unique_ptr<Outgoing> lend_outgoing();
  void give_back(std::unique_ptr<Outgoing> outgoing) noexcept;

  /// Memory for TLS records while they are made and sent.
  struct TlsScratch {
    std::string plaintext;
    std::string ciphertext;
  };
  TlsScratch& tls_scratch() noexcept { return tls_scratch_; }

  PollSet& poll_set();
  PollSet* poll_set_or_null() noexcept { return poll_set_.get(); }
  SignalHandlers& signal_handlers();
  SignalHandlers* signal_handlers_or_null() noexcept { return signal_handlers_.get(); }
  bool signal(void (*callback)(void*), void* argument) noexcept {
    return signals_.push(callback, argument);
  }
  void set_exception_handler(std::function<void(std::exception_ptr)> handler) {
    exception_handler_ = std::move(handler);
  }
  void report(std::exception_ptr error) noexcept;

  // For tornado/inspect.hpp.
  std::vector<inspect::Coroutine> coroutines() const;
  inspect::Metrics metrics() const;
  void measure_time(bool on) noexcept;
  void set_slow(IOLoop::Clock::duration threshold) noexcept { slow_ = threshold; }
  void set_report_leaks(bool on) noexcept { reports_leaks_ = on; }
  /// Calls `f`; `describe()` says what took too long, if it does.
  template <class F, class D>
  void observe(F f, D describe) {
    if (slow_ == IOLoop::Clock::duration::zero()) return f();
    const auto begin = IOLoop::Clock::now();
    f();
    const auto time = IOLoop::Clock::now() - begin;
    if (time >= slow_) report_slow(time, describe());
  }

 private:
  class Observed;
  void run_node(Node& node) noexcept {
    ++callbacks_run_;
    if (slow_ == IOLoop::Clock::duration::zero()) {
      node.handle(Node::Event::run);
    } else {
      run_observed(node);
    }
    end_if_forked();
  }
  void run_observed(Node& node) noexcept;
  [[noreturn]] static void end_child() noexcept;
  void report_slow(IOLoop::Clock::duration time, const std::string& what) noexcept;
  void log_leaks() const;

  class Context;
  class LeftBehind;

  void enter() noexcept;
  void leave() noexcept;
  void count_remotes() noexcept;
  void settle_work() noexcept;
  void release_work() noexcept;
  void open_signal_door();
  bool on_other_thread() const noexcept;
  void drain() noexcept;
  void settle() noexcept;
  void post_drain() noexcept;
  void flush_dirty() noexcept;
  void run_iterations() noexcept;
  void run_several_iterations() noexcept;
  void run_iteration() noexcept;
  void post_iteration() noexcept;
  void arm_timer();
  void run_due() noexcept;
  void arm_reads() noexcept;
  void count_arms() noexcept;
  void arm_listed(std::size_t& reads) noexcept;
  void arm_one(LoopClient& client, std::size_t& reads) noexcept;
  void wait_for_signal();
  void on_signal() noexcept;
  void destroy_frames() noexcept;
  void drop_all() noexcept;

  IOLoop& owner_;
  const unsigned generation_ = fork_generation();
  bool left_parent_ = false;
  const bool adapted_;
  std::unique_ptr<asio::io_context> owned_;
  asio::io_context* io_;
  std::optional<asio::strand<asio::io_context::executor_type>> strand_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;

  int depth_ = 0;  // of turns on the stack
  // What is adapted is run by the application: the thread that is in a turn, by the address of a
  // thread-local variable.
  std::atomic<const void*> thread_{nullptr};
  bool counts_remotes_ = false;  // as work of the context's
  bool context_ends_ = false;
  bool signal_is_free_ = false;  // waited for, without being counted as work
  std::atomic<bool> running_{false};
  std::atomic<bool> stop_{false};
  bool closed_ = false;

  List<Node> ready_;
  bool drain_posted_ = false;
  List<Node> added_;
  bool iteration_posted_ = false;
  int iterations_alone_ = 0;          // turns in a row, up to the last one, that were nothing else
  std::uint64_t last_iteration_ = 0;  // its turn

  std::vector<LoopClient*> dirty_;
  std::vector<LoopClient*> flushing_;
  std::vector<LoopClient*> arming_;
  std::vector<LoopClient*> arming_now_;
  const LoopClient* arming_one_ = nullptr;  // its turn it is
  bool arm_posted_ = false;
  // Whether reads are armed at once, or behind the other ready descriptors: see arm_reads().
  bool arm_at_once_ = true;
  int arms_seen_ = 0;
  int arms_of_others_ = 0;
  const LoopClient* recent_[2] = {nullptr, nullptr};

  static constexpr std::size_t most_recycled = std::size_t{256} * 1024;
  std::string chunk_;
  Ref<StreamOptions> recent_options_;
  std::vector<std::unique_ptr<Outgoing>> spare_outgoing_;
  TlsScratch tls_scratch_;

  TimerQueue timers_;
  std::optional<asio::steady_timer> timer_;
  TimerNode::TimePoint armed_ = TimerNode::TimePoint::max();

  List<Suspension> frames_;
  std::uint64_t frames_numbered_ = 0;
  List<CallbackLink> callbacks_;
  List<RemoteCell::Link> remotes_;
  List<LoopClient> clients_;

  std::unique_ptr<PollSet> poll_set_;
  SignalRing signals_;
  std::unique_ptr<SignalHandlers> signal_handlers_;
  std::optional<asio::posix::stream_descriptor> signal_descriptor_;
  std::function<void(std::exception_ptr)> exception_handler_;

  std::uint64_t turns_ = 0;
  std::uint64_t callbacks_run_ = 0;
  IOLoop::Clock::duration slow_{};       // zero: not looked at
  TimerNode::TimePoint measured_since_;  // default: time is not measured
  TimerNode::TimePoint turn_began_;
  IOLoop::Clock::duration busy_{};
  bool reports_leaks_ = false;

  std::mutex mutex_;  // guards what follows
  List<Node> posted_;
  bool open_ = true;
  bool post_pending_ = false;
  std::atomic<bool> has_posted_{false};
};

}  // namespace tornado::detail
