// SPDX-License-Identifier: Apache-2.0
//
// The descriptors of IOLoop::add_handler: one level-triggered epoll set per loop, which Asio
// watches as a single descriptor. Asio itself cannot take a descriptor twice, tells less than the
// exact events, and costs an epoll_ctl for each event.
#pragma once

#include "tornado/ioloop.hpp"

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

namespace tornado::detail {

class LoopCore;

class PollSet {
 public:
  /// \throws std::system_error  when the system has no descriptor left.
  explicit PollSet(LoopCore& core);

  /// \param close_object  closes what `fd` belongs to; empty for `fd` itself.
  void add(int fd, IOLoop::Handler handler, int events, std::function<void()> close_object = {});
  void update(int fd, int events);
  void remove(int fd) noexcept;
  void close_descriptors() noexcept;
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  /// With the values of context variables where it was added, and what it sets itself.
  struct Callback {
    Callback(IOLoop::Handler handler, std::function<void()> close_object)
        : call(std::move(handler)), close(std::move(close_object)) {}
    IOLoop::Handler call;
    std::function<void()> close;
    ContextRef context;
  };
  struct Entry {
    std::shared_ptr<Callback> handler;
    int events;
    std::uint32_t number;  // tells it from an earlier one of the same descriptor
  };

  void control(int operation, int fd, const Entry& entry);
  void wait();
  void wait_if_needed();
  void rest_if_unneeded();
  void dispatch() noexcept;
  void rebuild();

  LoopCore& core_;
  asio::posix::stream_descriptor set_;
  std::unordered_map<int, Entry> entries_;
  std::uint32_t added_ = 0;
  bool removed_one_ = false;  // since the batch began
  // On an application's context it waits only while there is a handler.
  bool waiting_ = false;
  bool dispatching_ = false;
  std::uint32_t waits_ = 0;
};

}  // namespace tornado::detail
