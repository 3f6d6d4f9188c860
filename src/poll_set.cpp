// SPDX-License-Identifier: Apache-2.0
#include "poll_set.hpp"

#include "loop_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <sys/epoll.h>
#include <unistd.h>

namespace tornado::detail {
namespace {

// IOLoop's constants are epoll's, as in Python.
static_assert(IOLoop::READ == EPOLLIN && IOLoop::WRITE == EPOLLOUT &&
              IOLoop::ERROR_EVENT == (EPOLLERR | EPOLLHUP));

int make_set() {
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) throw std::system_error(errno, std::system_category(), "epoll_create1");
  return set;
}

}  // namespace

PollSet::PollSet(LoopCore& core) : core_(core), set_(core.io(), make_set()) {
  if (!core_.adapted()) wait();
}

void PollSet::add(int fd, IOLoop::Handler handler, int events, std::function<void()> close_object) {
  if (!handler) throw std::invalid_argument("add_handler: the handler is empty");
  if (entries_.contains(fd)) {
    throw std::invalid_argument(fmt::format("add_handler: fd {} has a handler already", fd));
  }
  Entry entry{std::make_shared<Callback>(std::move(handler), std::move(close_object)), events,
              ++added_};
  control(EPOLL_CTL_ADD, fd, entry);
  entries_.emplace(fd, std::move(entry));
  wait_if_needed();
}

void PollSet::update(int fd, int events) {
  const auto found = entries_.find(fd);
  if (found == entries_.end()) {
    throw std::invalid_argument(fmt::format("update_handler: fd {} has no handler", fd));
  }
  found->second.events = events;
  control(EPOLL_CTL_MOD, fd, found->second);
}

void PollSet::remove(int fd) noexcept {
  const auto found = entries_.find(fd);
  if (found == entries_.end()) return;
  // Outlives the call: the handler may be what is running.
  const auto handler = std::move(found->second.handler);
  entries_.erase(found);
  removed_one_ = true;
  if (core_.forked()) return;  // the set is the parent's too
  // Fails when the descriptor was closed before, which took it out of the set.
  ::epoll_ctl(set_.native_handle(), EPOLL_CTL_DEL, fd, nullptr);
  rest_if_unneeded();
}

void PollSet::close_descriptors() noexcept {
  while (!entries_.empty()) {
    const auto [fd, entry] = *entries_.begin();
    remove(fd);
    if (entry.handler->close) {
      entry.handler->close();
    } else {
      IOLoop::close_fd(fd);
    }
  }
}

void PollSet::control(int operation, int fd, const Entry& entry) {
  epoll_event event{};
  event.events = static_cast<std::uint32_t>(entry.events & (IOLoop::READ | IOLoop::WRITE));
  event.data.u64 = (std::uint64_t{entry.number} << 32) | static_cast<std::uint32_t>(fd);
  if (::epoll_ctl(set_.native_handle(), operation, fd, &event) == 0) return;
  const int error = errno;
  throw std::system_error(
      error, std::system_category(),
      fmt::format("{}: fd {}{}", operation == EPOLL_CTL_ADD ? "add_handler" : "update_handler", fd,
                  error == EPERM ? " is of a kind that cannot be polled" : ""));
}

void PollSet::wait() {
  waiting_ = true;
  core_.with_handler(
      [this, number = ++waits_](const std::error_code& error) {
        if (error || number != waits_) return;  // the loop closes, or the wait was given up
        LoopCore::Turn turn(core_);
        dispatch();
        if (core_.adapted() && entries_.empty()) {
          waiting_ = false;
        } else {
          wait();
        }
      },
      [this](auto handler) {
        set_.async_wait(asio::posix::stream_descriptor::wait_read, std::move(handler));
      });
}

void PollSet::wait_if_needed() {
  if (!waiting_) wait();
}

void PollSet::rest_if_unneeded() {
  if (!core_.adapted() || dispatching_ || !waiting_ || !entries_.empty()) return;
  waiting_ = false;
  ++waits_;
  set_.cancel();
}

void PollSet::dispatch() noexcept {
  epoll_event events[128];
  const int count = ::epoll_wait(set_.native_handle(), events, 128, 0);
  removed_one_ = false;
  dispatching_ = true;
  bool stale = false;
  for (int i = 0; i < count; ++i) {
    const int fd = static_cast<int>(static_cast<std::uint32_t>(events[i].data.u64));
    const auto number = static_cast<std::uint32_t>(events[i].data.u64 >> 32);
    const auto found = entries_.find(fd);
    if (found == entries_.end() || found->second.number != number) {
      stale = true;
      continue;
    }
    const auto handler = found->second.handler;  // it may remove itself
    const int what =
        static_cast<int>(events[i].events) & (IOLoop::READ | IOLoop::WRITE | IOLoop::ERROR_EVENT);
    const ContextScope scope(handler->context);
    try {
      core_.observe([&] { handler->call(fd, what); },
                    [fd] { return fmt::format("the handler of fd {}", fd); });
    } catch (...) {
      report_callback_exception();
    }
    core_.end_if_forked();
  }
  // An event without a handler: one that a handler of this batch removed, which is in order. Or a
  // descriptor that was closed while a duplicate of it lives: it stays in the set, cannot be taken
  // out, and its events would come for ever. A new set does not have it.
  dispatching_ = false;
  if (stale && !removed_one_) rebuild();
}

void PollSet::rebuild() {
  set_.close();  // first, so that there is a descriptor to be had
  set_.assign(make_set());
  for (const auto& [fd, entry] : entries_) {
    try {
      control(EPOLL_CTL_ADD, fd, entry);
    } catch (const std::system_error&) {
      // Closed without remove_handler: no more events, as before.
    }
  }
}

}  // namespace tornado::detail
