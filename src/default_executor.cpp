// SPDX-License-Identifier: Apache-2.0
#include "default_executor.hpp"

#include "loop_core.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <list>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace tornado::detail {
namespace {

/// A thread that may run longer than its executor lives.
struct Worker {
  std::thread thread;
  bool busy = false;  // with a function; guarded by the executor's mutex
  std::atomic<bool> ended{false};
};

/// The threads of executors that have gone, which are still busy. The end of the program waits for
/// them, as Python's does: static objects that a function may use have to be there.
class Leftovers {
 public:
  explicit Leftovers(const Leftovers* parents) noexcept : parents_(parents) {}

  void add(std::shared_ptr<Worker> worker) {
    if (worker->thread.get_id() == std::this_thread::get_id() && at_exit_) {
      worker->thread.detach();
      return;
    }
    if (at_exit_) {
      worker->thread.join();
      return;
    }
    const std::lock_guard lock(mutex_);
    std::erase_if(workers_, [](const std::shared_ptr<Worker>& other) {
      if (other->ended) other->thread.join();
      return other->ended.load();
    });
    workers_.push_back(std::move(worker));
  }
  bool belongs_here() const noexcept { return generation_ == fork_generation(); }
  void wait_for_all() {
    std::vector<std::shared_ptr<Worker>> workers;
    {
      const std::lock_guard lock(mutex_);
      at_exit_ = true;
      workers.swap(workers_);
    }
    for (const auto& worker : workers) worker->thread.join();
  }

 private:
  const unsigned generation_ = fork_generation();
  [[maybe_unused]] const Leftovers* parents_;  // which nobody else knows any more
  std::mutex mutex_;
  std::vector<std::shared_ptr<Worker>> workers_;
  std::atomic<bool> at_exit_{false};
};

// Never destroyed: a static loop may be closed later than the threads have been waited for. A
// forked child begins anew: the threads are its parent's.
constinit std::atomic<Leftovers*> current_leftovers{nullptr};

Leftovers& leftovers() {
  static const struct AtExit {
    ~AtExit() {
      Leftovers* all = current_leftovers;
      if (all != nullptr && all->belongs_here()) all->wait_for_all();
    }
  } at_exit;
  Leftovers* found = current_leftovers;
  if (found != nullptr && found->belongs_here()) return *found;
  auto made = std::make_unique<Leftovers>(found);
  if (!current_leftovers.compare_exchange_strong(found, made.get())) return *found;
  return *made.release();
}

// Python: process.cpu_count() * 5.
std::size_t usual_size() {
  return std::size_t{5} * std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace

class DefaultExecutor::Pool : public std::enable_shared_from_this<Pool> {
 public:
  void execute(std::unique_ptr<Work> work) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    if (idle_ < queue_.size() && workers_.size() < size_) {
      try {
        add_worker();
      } catch (const std::system_error&) {
        if (!workers_.empty()) return;  // it waits for one of them
        queue_.pop_back();
        throw;
      }
    }
    work_or_end_.notify_one();
  }

  void close() {
    std::deque<std::unique_ptr<Work>> dropped;
    std::vector<std::shared_ptr<Worker>> idle;
    std::vector<std::shared_ptr<Worker>> busy;
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      dropped.swap(queue_);
      for (auto& worker : workers_) {
        auto& list = worker->busy ? busy : idle;
        list.push_back(std::move(worker));
      }
      workers_.clear();
    }
    work_or_end_.notify_all();
    for (const auto& worker : idle) worker->thread.join();
    // One may be this thread: a function may be what closes the loop.
    for (auto& worker : busy) leftovers().add(std::move(worker));
  }

 private:
  void add_worker() {
    auto worker = std::make_shared<Worker>();
    workers_.push_back(worker);
    ++idle_;  // until it takes something
    try {
      worker->thread = std::thread([self = shared_from_this(), worker] {
        self->run(*worker);
        worker->ended = true;
      });
    } catch (...) {
      --idle_;
      workers_.pop_back();
      throw;
    }
  }

  void run(Worker& worker) {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_or_end_.wait(lock, [this] { return closed_ || !queue_.empty(); });
      if (closed_) return;
      std::unique_ptr<Work> work = std::move(queue_.front());
      queue_.pop_front();
      worker.busy = true;
      --idle_;
      lock.unlock();
      work->run();
      work.reset();
      lock.lock();
      ++idle_;
      worker.busy = false;
    }
  }

  const std::size_t size_ = usual_size();
  std::mutex mutex_;  // guards what follows
  std::condition_variable work_or_end_;
  std::deque<std::unique_ptr<Work>> queue_;
  std::list<std::shared_ptr<Worker>> workers_;
  std::size_t idle_ = 0;
  bool closed_ = false;
};

DefaultExecutor::DefaultExecutor() : pool_(std::make_shared<Pool>()) { leftovers(); }

DefaultExecutor::~DefaultExecutor() {
  if (generation_ == fork_generation()) {
    pool_->close();
  } else {
    // The threads, and what they hold, are the parent's.
    keep_for_ever(std::move(pool_));
  }
}

void DefaultExecutor::execute(std::unique_ptr<Work> work) { pool_->execute(std::move(work)); }

}  // namespace tornado::detail

namespace tornado {

Executor& IOLoop::executor_or_default(Executor* executor) {
  if (core_->closed()) {
    throw std::logic_error("IOLoop::run_in_executor: the loop has been closed");
  }
  core_->require_own_process("IOLoop::run_in_executor");
  if (executor != nullptr) return *executor;
  if (!default_executor_) default_executor_ = std::make_shared<detail::DefaultExecutor>();
  return *default_executor_;
}

void IOLoop::set_default_executor(std::shared_ptr<Executor> executor) noexcept {
  default_executor_ = std::move(executor);
}

}  // namespace tornado
