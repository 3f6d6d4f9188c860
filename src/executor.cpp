// SPDX-License-Identifier: Apache-2.0
#include "tornado/concurrent.hpp"

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace tornado {

Executor::Executor() = default;
Executor::~Executor() = default;
Executor::Work::Work() = default;
Executor::Work::~Work() = default;

DummyExecutor::DummyExecutor() = default;
DummyExecutor::~DummyExecutor() = default;
void DummyExecutor::execute(std::unique_ptr<Work> work) { work->run(); }

DummyExecutor& dummy_executor() {
  static DummyExecutor executor;
  return executor;
}

// Threads that run an io_context: those of asio::thread_pool do not work in Asio 1.35.0.
class ThreadPoolExecutor::Pool {
 public:
  explicit Pool(std::size_t threads) : work_(asio::make_work_guard(io_)) {
    try {
      for (std::size_t i = 0; i < threads; ++i) {
        threads_.emplace_back([this] { io_.run(); });
      }
    } catch (...) {
      shutdown();
      throw;
    }
  }
  void execute(std::unique_ptr<Work> work) {
    if (closed_) throw std::runtime_error("ThreadPoolExecutor::submit: it has been shut down");
    asio::post(io_, [work = std::move(work)] { work->run(); });
  }
  void shutdown() {
    closed_ = true;
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  std::atomic<bool> closed_{false};
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
};

ThreadPoolExecutor::ThreadPoolExecutor(std::size_t max_workers) {
  if (max_workers == 0) {
    throw std::invalid_argument("ThreadPoolExecutor: max_workers has to be one or more");
  }
  pool_ = std::make_shared<Pool>(max_workers);
}

ThreadPoolExecutor::~ThreadPoolExecutor() { shutdown(); }

void ThreadPoolExecutor::shutdown() { pool_->shutdown(); }
void ThreadPoolExecutor::execute(std::unique_ptr<Work> work) { pool_->execute(std::move(work)); }

}  // namespace tornado
