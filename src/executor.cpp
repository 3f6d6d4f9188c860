// SPDX-License-Identifier: Apache-2.0
#include "tornado/concurrent.hpp"

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>

#include <atomic>
#include <stdexcept>
#include <utility>

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

class ThreadPoolExecutor::Pool {
 public:
  explicit Pool(std::size_t threads) : pool_(threads) {}
  void execute(std::unique_ptr<Work> work) {
    if (closed_) throw std::runtime_error("ThreadPoolExecutor::submit: it has been shut down");
    asio::post(pool_, [work = std::move(work)] { work->run(); });
  }
  void shutdown() {
    closed_ = true;
    pool_.join();
  }

 private:
  std::atomic<bool> closed_{false};
  asio::thread_pool pool_;
};

ThreadPoolExecutor::ThreadPoolExecutor(std::size_t max_workers) {
  if (max_workers == 0) {
    throw std::invalid_argument("ThreadPoolExecutor: max_workers has to be one or more");
  }
  pool_ = std::make_unique<Pool>(max_workers);
}

ThreadPoolExecutor::~ThreadPoolExecutor() { shutdown(); }

void ThreadPoolExecutor::shutdown() { pool_->shutdown(); }
void ThreadPoolExecutor::execute(std::unique_ptr<Work> work) { pool_->execute(std::move(work)); }

}  // namespace tornado
