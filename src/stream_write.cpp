// SPDX-License-Identifier: Apache-2.0
//
// Of a stream: writing.
#include "stream_core.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>

namespace tornado::detail {

template <class Data>
Future<void> StreamCore::write_any(Data&& data) {
  const std::size_t size = data.size();
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
  if (size == 0 && unsent_.empty()) {
    future.set_result();
    return future;
  }
  unsent_.append(std::forward<Data>(data));
  written_ += size;
  State<void>* state = Access::state(future);
  state->observed = true;
  state->add_ref();
  writes_.push_back({written_, Ref<State<void>>(state)});
  if (!connecting_ && !write_armed_) loop_->add_dirty(*this);
  return future;
}

Future<void> StreamCore::write(std::string_view data) { return write_any(data); }
Future<void> StreamCore::write(std::string&& data) { return write_any(std::move(data)); }

void StreamCore::flush() noexcept {
  send();
  close_if_unused();
}

void StreamCore::send() {
  while (!closed_ && !connecting_ && !write_armed_ && !broken_ && !unsent_.empty()) {
    std::array<std::string_view, 16> views;
    const std::size_t count = unsent_.gather(views);
    std::size_t offered = 0;
    for (std::size_t i = 0; i < count; ++i) offered += views[i].size();
    const StreamBackend::Result result =
        backend_->write_to_fd(std::span<const std::string_view>(views.data(), count));
    if (result.error && result.error != std::errc::operation_would_block) {
      on_write_error(result.error);
      return;
    }
    unsent_.consume(result.bytes);
    sent_ += result.bytes;
    if (result.bytes < offered) wait_to_write();
  }
  complete_writes();
}

void StreamCore::wait_to_write() {
  write_armed_ = true;
  backend_->wait(StreamBackend::Interest::write, {},
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

// What the other end sent before it went away is not lost with it. The waiting read may have got
// the first of that already, and be queued to say so; what follows has to come behind it.
void StreamCore::on_write_error(std::error_code error) {
  broken_ = error;
  if (!read_armed_) {
    end_broken();
    return;
  }
  add_ref();
  loop_->post_handler([self = Ref<StreamCore>(this)] {
    const LoopCore::Turn turn(*self->loop_);
    self->end_broken();
  });
}

void StreamCore::end_broken() {
  const std::size_t size = chunk_size();
  while (!closed_ && buffered().size() < options_.max_buffer_size) {
    const StreamBackend::Result result = backend_->read_from_fd(loop_->chunk(size), size);
    if (result.error || result.bytes == 0) break;
    on_data(std::string_view(loop_->chunk(0), result.bytes));
  }
  shut(broken_);
}

}  // namespace tornado::detail
