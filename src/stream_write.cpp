// SPDX-License-Identifier: Apache-2.0
//
// Of a stream: writing.
#include "stream_core.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <stdexcept>

namespace tornado::detail {
namespace {

Future<void> ready() {
  Future<void> future;
  Access::state(future)->set_ready();
  return future;
}

}  // namespace

void StreamCore::require_writable(const char* call) const {
  if (write_end_) {
    throw std::logic_error(fmt::format("IOStream::{}: shutdown_write was called before", call));
  }
}

/// `state` is done when all that was written up to now has been sent.
void StreamCore::add_write(StateBase& state, bool of_file) {
  state.observed = true;  // nobody needs to be told that a stream was closed
  state.add_ref();
  outgoing().writes.push_back({written_, Ref<StateBase>(&state), of_file});
  send_later();
}

Future<void> StreamCore::add_write() {
  auto& writes = outgoing_->writes;
  // A write whose Future nobody has kept is sent with this one.
  if (!writes.empty() && writes.back().unwatched()) {
    writes.back().end = written_;
    auto* state = static_cast<State<void>*>(writes.back().state.get());
    state->add_ref();
    return Access::adopt(state);
  }
  Future<void> future;
  add_write(*Access::state(future), false);
  return future;
}

void StreamCore::send_later() noexcept {
  if (!connecting_ && !write_armed_) loop_->add_dirty(*this);
}

template <class Data>
Future<void> StreamCore::write_any(Data&& data) {
  const std::size_t size = data.size();
  require_writable("write");
  if (closed_) return failed<void>(closed_error(), true);
  if (options().max_write_buffer_size > 0 && size + unsent() > options().max_write_buffer_size) {
    return failed<void>(std::make_exception_ptr(StreamBufferFullError(fmt::format(
                            "Reached maximum write buffer size: {} bytes wait, {} more exceed "
                            "max_write_buffer_size, {}",
                            unsent(), size, options().max_write_buffer_size))),
                        false);
  }
  if (size == 0 && sent_ == written_) return ready();
  outgoing().unsent.append(std::forward<Data>(data));
  written_ += size;
  if (!options().buffered_writes || unsent() > options().write_watermark) return add_write();
  send_later();
  return ready();
}

Future<void> StreamCore::write(std::string_view data) { return write_any(data); }
Future<void> StreamCore::write(std::string&& data) { return write_any(std::move(data)); }

Future<void> StreamCore::drain() {
  if (closed_) return failed<void>(closed_error(), true);
  if (unsent() <= options().write_watermark) return ready();
  Future<void> future;
  State<void>* state = Access::state(future);
  state->observed = true;
  state->add_ref();
  outgoing().drains.emplace_back(state);
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
    send_later();
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
  if (write_end_ && may_send() && sent_ == written_ && !write_shut_) end_writing();
  if (!outgoing_) return;
  complete_writes();
  complete_drains();
  if (outgoing_->empty()) loop_->give_back(std::move(outgoing_));
}

/// One call of the backend's; false when it is to be waited for the next, or there will be none.
bool StreamCore::send_once() {
  std::uint64_t most = written_ - sent_;
  if (!outgoing_->files.empty()) {
    const std::uint64_t begin = outgoing_->files.front().begin;
    if (begin <= sent_) return send_file_part();
    most = begin - sent_;
  }
  if (const std::string_view piece = outgoing_->unsent.single(); piece.size() == most) {
    return on_sent(backend_->write_to_fd({&piece, 1}), piece.size());
  }
  std::array<std::string_view, 16> room;
  const auto views = outgoing_->unsent.gather(room, most);
  std::size_t offered = 0;
  for (const std::string_view view : views) offered += view.size();
  return on_sent(backend_->write_to_fd(views), offered);
}

/// The same for what was offered to the backend.
bool StreamCore::on_sent(const StreamBackend::Result& result, std::size_t offered) {
  if (!on_sent(result)) return false;
  outgoing_->unsent.consume(
      result.bytes, [this](std::string&& sent) noexcept { loop_->recycle(std::move(sent)); });
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
  if (outgoing_->drains.empty() || unsent() > options().write_watermark / 4) return;
  for (const auto& state : std::exchange(outgoing_->drains, {})) {
    if (!state->done()) state->complete(Status::value);
  }
}

void StreamCore::wait_to_write() {
  write_armed_ = true;
  backend_->wait(StreamBackend::Interest::write,
                 StreamBackend::Ready(*this, nullptr, StreamBackend::Interest::write));
}

void StreamCore::complete_writes() {
  auto& writes = outgoing_->writes;
  std::size_t& done = outgoing_->writes_done;
  while (done < writes.size() && writes[done].end <= sent_) {
    const auto state = std::move(writes[done++].state);
    if (!state->done()) state->complete(Status::value);  // it may have been cancelled
  }
  if (done == writes.size()) {
    writes.clear();
    done = 0;
  } else if (done > writes.size() / 2) {
    writes.erase(writes.begin(), writes.begin() + static_cast<std::ptrdiff_t>(done));
    done = 0;
  }
}

// What the other end sent before it went away is not lost with it.
void StreamCore::on_write_error(std::error_code error) {
  broken_ = true;
  error_ = error;
  const std::size_t size = chunk_size();
  while (!closed_ && buffered().size() < options().max_buffer_size) {
    const StreamBackend::Result result = backend_->read_from_fd(loop_->chunk(size), size);
    if (result.error || result.bytes == 0) break;
    on_data(result.bytes);
  }
  shut(error_);
}

}  // namespace tornado::detail
