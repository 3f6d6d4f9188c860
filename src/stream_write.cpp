// SPDX-License-Identifier: Apache-2.0
//
// Of a stream: writing.
#include "stream_core.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <stdexcept>

namespace tornado::detail {

void StreamCore::require_writable(const char* call) const {
  if (write_end_) {
    throw std::logic_error(fmt::format("IOStream::{}: shutdown_write was called before", call));
  }
}

/// `state` is done when all that was written up to now has been sent.
void StreamCore::add_write(StateBase& state) {
  state.observed = true;  // nobody needs to be told that a stream was closed
  state.add_ref();
  writes_.push_back({written_, Ref<StateBase>(&state)});
  if (!connecting_ && !write_armed_) loop_->add_dirty(*this);
}

template <class Data>
Future<void> StreamCore::write_any(Data&& data) {
  const std::size_t size = data.size();
  require_writable("write");
  if (closed_) return failed<void>(closed_error(), true);
  if (options_.max_write_buffer_size > 0 &&
      size + unsent_.size() > options_.max_write_buffer_size) {
    return failed<void>(std::make_exception_ptr(StreamBufferFullError(fmt::format(
                            "Reached maximum write buffer size: {} bytes wait, {} more exceed "
                            "max_write_buffer_size, {}",
                            unsent_.size(), size, options_.max_write_buffer_size))),
                        false);
  }
  Future<void> future;
  if (size == 0 && sent_ == written_) {
    future.set_result();
    return future;
  }
  unsent_.append(std::forward<Data>(data));
  written_ += size;
  if (options_.buffered_writes && unsent_.size() <= options_.write_watermark) {
    future.set_result();
    if (!connecting_ && !write_armed_) loop_->add_dirty(*this);
  } else {
    add_write(*Access::state(future));
  }
  return future;
}

Future<void> StreamCore::write(std::string_view data) { return write_any(data); }
Future<void> StreamCore::write(std::string&& data) { return write_any(std::move(data)); }

Future<void> StreamCore::drain() {
  if (closed_) return failed<void>(closed_error(), true);
  Future<void> future;
  if (unsent_.size() <= options_.write_watermark) {
    future.set_result();
    return future;
  }
  State<void>* state = Access::state(future);
  state->observed = true;
  state->add_ref();
  drains_.emplace_back(state);
  return future;
}

Future<void> StreamCore::shutdown_write() {
  if (!write_end_) {
    if (closed_) return failed<void>(closed_error(), true);
    Future<void> future;
    State<void>* state = Access::state(future);
    state->observed = true;
    state->add_ref();
    write_end_ = Ref<State<void>>(state);
    if (!connecting_ && !write_armed_) loop_->add_dirty(*this);
  }
  write_end_->add_ref();
  return Access::adopt(write_end_.get());
}

void StreamCore::flush() noexcept {
  send();
  close_if_unused();
}

void StreamCore::send() {
  while (may_send() && sent_ < written_) {
    if (!send_once()) break;
  }
  if (may_send() && sent_ == written_ && write_end_ && !write_shut_) end_writing();
  complete_writes();
  complete_drains();
}

/// One call of the backend's; false when it is to be waited for the next, or there will be none.
bool StreamCore::send_once() {
  std::uint64_t most = written_ - sent_;
  if (!files_.empty()) {
    if (files_.front().begin <= sent_) return send_file_part();
    most = files_.front().begin - sent_;
  }
  std::array<std::string_view, 16> room;
  const auto views = unsent_.gather(room, most);
  std::size_t offered = 0;
  for (const std::string_view view : views) offered += view.size();
  const StreamBackend::Result result = backend_->write_to_fd(views);
  if (!on_sent(result)) return false;
  unsent_.consume(result.bytes);
  if (result.bytes == offered) return true;
  wait_to_write();
  return false;
}

/// False when nothing was sent.
bool StreamCore::on_sent(const StreamBackend::Result& result) {
  if (result.error) {
    if (result.error == std::errc::operation_would_block) {
      wait_to_write();
    } else {
      on_write_error(result.error);
    }
    return false;
  }
  sent_ += result.bytes;
  return true;
}

/// After all that was written.
void StreamCore::end_writing() {
  const std::error_code error = backend_->shutdown_write();
  if (error == std::errc::operation_would_block) {
    wait_to_write();
  } else if (error == std::errc::operation_not_supported) {
    const auto state = std::exchange(write_end_, {});
    if (state->done()) return;
    state->fail(std::make_exception_ptr(std::system_error(error, "IOStream::shutdown_write")));
  } else if (error) {
    on_write_error(error);
  } else {
    write_shut_ = true;
    if (!write_end_->done()) write_end_->complete(Status::value);
    if (read_ended_) shut({});
  }
}

/// Lets go on who waits for a slow reader, when it has caught up for the most part.
void StreamCore::complete_drains() {
  if (drains_.empty() || unsent_.size() > options_.write_watermark / 4) return;
  for (const auto& state : std::exchange(drains_, {})) {
    if (!state->done()) state->complete(Status::value);
  }
}

void StreamCore::wait_to_write() {
  write_armed_ = true;
  backend_->wait(StreamBackend::Interest::write,
                 StreamBackend::Ready(*this, nullptr, StreamBackend::Interest::write));
}

void StreamCore::complete_writes() {
  while (writes_done_ < writes_.size() && writes_[writes_done_].end <= sent_) {
    const auto state = std::move(writes_[writes_done_++].state);
    if (!state->done()) state->complete(Status::value);  // it may have been cancelled
  }
  if (writes_done_ == writes_.size() || writes_done_ > writes_.size() / 2) {
    writes_.erase(writes_.begin(), writes_.begin() + static_cast<std::ptrdiff_t>(writes_done_));
    writes_done_ = 0;
  }
}

std::vector<StreamCore::Write> StreamCore::take_pending_writes() noexcept {
  writes_.erase(writes_.begin(),
                writes_.begin() + static_cast<std::ptrdiff_t>(std::exchange(writes_done_, 0)));
  return std::exchange(writes_, {});
}

// What the other end sent before it went away is not lost with it.
void StreamCore::on_write_error(std::error_code error) {
  broken_ = error;
  const std::size_t size = chunk_size();
  while (!closed_ && buffered().size() < options_.max_buffer_size) {
    const StreamBackend::Result result = backend_->read_from_fd(loop_->chunk(size), size);
    if (result.error || result.bytes == 0) break;
    on_data(std::string_view(loop_->chunk(0), result.bytes));
  }
  shut(broken_);
}

}  // namespace tornado::detail
