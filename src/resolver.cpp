// SPDX-License-Identifier: Apache-2.0
//
// Resolver: apart from netutil.cpp, which needs no loop.
#include "lookup.hpp"
#include "tornado/gen.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <compare>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#ifndef _WIN32
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif

namespace tornado {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t max_threads = 4;
constexpr auto idle_time = 2s;  // that a thread waits for more to do

#ifdef _WIN32
int process_id() { return 0; }  // no fork

class BlockedSignals {
 public:
  BlockedSignals() {}
};
#else
pid_t process_id() { return ::getpid(); }

// A thread inherits the mask. The program's signals are not for our threads to take.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &previous_);
  }
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t previous_;
};
#endif

class Answer {
 public:
  Answer() noexcept {}

  std::vector<Address> addresses;
  // Not the promise's error: that would be logged where the lookup has been abandoned.
  std::exception_ptr error;
};

struct Question {
  std::string host;
  std::uint16_t port;
  int family;
  RemotePromise<Answer> promise;
};

/// The threads and what they have to do. Asio's resolver has one thread, which looks up one name
/// after the other, and whose end the program's exit waits for.
class Pool {
 public:
  using Ticket = std::uint64_t;

  static Pool& instance() {
    // Never destroyed: at the program's exit a thread may be in the midst of a lookup.
    static std::atomic<Pool*> current = new Pool(nullptr);
    Pool* pool = current;
    if (pool->process_ != process_id()) {
      // After a fork: the threads stayed behind, and the mutex is in any state.
      auto fresh = std::unique_ptr<Pool>(new Pool(pool));
      if (current.compare_exchange_strong(pool, fresh.get())) pool = fresh.release();
    }
    return *pool;
  }

  Ticket add(Question question) {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= idle_ && threads_ < max_threads) {
      try {
        start_thread();
      } catch (const std::system_error& error) {
        // With another thread it only takes longer.
        if (threads_ == 0) {
          Answer answer;
          answer.error = std::make_exception_ptr(ResolverError(
              error.code(), fmt::format("start a thread to resolve {:?}", question.host)));
          question.promise.set_result(std::move(answer));
          return 0;
        }
      }
    }
    waiting_.emplace(++last_ticket_, std::move(question));
    wake_.notify_one();
    return last_ticket_;
  }

  /// Takes a question back, unless a thread is at it already.
  void remove(Ticket ticket) {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(ticket);
    if (found == waiting_.end()) return;
    found->second.promise.set_result(Answer());  // to nobody, but dropping it would be an error
    waiting_.erase(found);
  }

 private:
  explicit Pool(Pool* before)
      : before_(before),
        process_(process_id()),
        last_ticket_(before != nullptr ? before->last_ticket_ : 0) {}

  void start_thread() {
    const BlockedSignals blocked;
    std::thread([this] { work(); }).detach();
    ++threads_;
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      const bool found = wake_.wait_for(lock, idle_time, [this] { return !waiting_.empty(); });
      --idle_;
      if (!found) break;
      Question question = std::move(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
      lock.unlock();
      answer(question);
      lock.lock();
    }
    --threads_;
  }

  static void answer(Question& question) {
    Answer answer;
    try {
      answer.addresses = detail::look_up(question.host, question.port, question.family);
    } catch (...) {
      answer.error = std::current_exception();
    }
    question.promise.set_result(std::move(answer));
  }

  [[maybe_unused]] Pool* const before_;  // the fork: reachable, and so no leak
  const decltype(process_id()) process_;
  Ticket last_ticket_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<Ticket, Question> waiting_;  // the oldest first
  std::size_t threads_ = 0;
  std::size_t idle_ = 0;
};

/// A question that is taken back when nobody waits for the answer any more.
class Asked {
 public:
  explicit Asked(Question question) : ticket_(Pool::instance().add(std::move(question))) {}
  ~Asked() { Pool::instance().remove(ticket_); }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

 private:
  Pool::Ticket ticket_;
};

Future<std::vector<Address>> resolve_on_thread(std::string host, std::uint16_t port, int family) {
  RemotePromise<Answer> promise;
  Future<Answer> future = promise.get_future();
  const Asked asked({std::move(host), port, family, std::move(promise)});
  Answer answer = co_await std::move(future);
  if (answer.error) std::rethrow_exception(answer.error);
  co_return std::move(answer.addresses);
}

Future<std::vector<Address>> resolve_at_once(std::string_view host, std::uint16_t port,
                                             int family) {
  try {
    return make_ready_future(detail::look_up(host, port, family));
  } catch (...) {
    return make_exception_future<std::vector<Address>>(std::current_exception());
  }
}

}  // namespace

Resolver::Resolver() noexcept = default;
Resolver::~Resolver() = default;

Future<std::vector<Address>> Resolver::resolve(std::string host, std::uint16_t port, int family) {
  if (netutil::is_valid_ip(host)) return resolve_at_once(host, port, family);
  return resolve_on_thread(std::move(host), port, family);
}

bool operator==(const OverrideResolver::Query& a, const OverrideResolver::Query& b) noexcept {
  return (a <=> b) == 0;
}

std::strong_ordering operator<=>(const OverrideResolver::Query& a,
                                 const OverrideResolver::Query& b) noexcept {
  return std::tie(a.host, a.port, a.family) <=> std::tie(b.host, b.port, b.family);
}

OverrideResolver::OverrideResolver(std::shared_ptr<Resolver> resolver, Mapping mapping)
    : resolver_(std::move(resolver)), mapping_(std::move(mapping)) {
  if (!resolver_) throw std::invalid_argument("OverrideResolver: the resolver is null");
}
OverrideResolver::~OverrideResolver() = default;

Future<std::vector<Address>> OverrideResolver::resolve(std::string host, std::uint16_t port,
                                                       int family) {
  for (const Query& query : {Query(host, port, family), Query(host, port), Query(host)}) {
    const auto found = mapping_.find(query);
    if (found == mapping_.end()) continue;
    const Query& instead = found->second;
    return resolver_->resolve(instead.host, instead.port.value_or(port),
                              instead.family.value_or(family));
  }
  return resolver_->resolve(std::move(host), port, family);
}

}  // namespace tornado
