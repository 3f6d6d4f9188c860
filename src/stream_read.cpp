// SPDX-License-Identifier: Apache-2.0
//
// Of a stream: reading.
#include "stream_core.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <type_traits>

namespace tornado::detail {
namespace {

// So many reads are served in a row from what is buffered, before others get their turn.
constexpr int reads_per_turn = 128;
// Who gets so many bytes at once streams: more is likely to be there.
constexpr std::size_t much = std::size_t{16} * 1024;
// Capacity that an idle stream's buffer may keep.
constexpr std::size_t kept_capacity = 256;

// What reading from a socket gives that is not connected yet: a TCP and a Unix one.
bool says_unconnected(const std::error_code& error) {
  return error == std::errc::not_connected || error == std::errc::invalid_argument;
}

}  // namespace

void StreamCore::require_no_read(const char* call) const {
  if (!reading()) return;
  throw std::logic_error(fmt::format("IOStream::{}: another read is pending", call));
}

/// The read that read_ describes: what is there already is taken without anybody waiting for it.
template <class T>
Future<T> StreamCore::start_read(Read::Kind kind) {
  Future<T> future;
  State<T>* state = Access::state(future);
  read_.kind = kind;
  read_.passed = 0;
  const bool postponed = had_its_share();
  std::size_t end = not_yet;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!postponed) end = find_end(buffered());
    if (end < never) {
      read_.kind = Read::none;
      read_.regex.reset();
      state->emplace(take_buffered(end));
      state->set_ready();
      arm_if_wanted();
      return future;
    }
  }
  state->observed = true;  // nobody needs to be told that a stream was closed
  state->set_origin(this);
  state->add_ref();
  read_.state = Ref<StateBase>(state);
  if (postponed) {
    postpone_read();
    return future;
  }
  if (end == never) shut_unsatisfiable();
  if (kind == Read::into) satisfy_from_buffer();
  if (reading() && (closed_ || read_ended_)) fail_pending(nullptr, closed_error());
  arm_if_wanted();
  return future;
}

/// A stream whose next bytes are always there would keep the others waiting.
bool StreamCore::had_its_share() noexcept {
  const auto turn = static_cast<std::uint32_t>(loop_->turn());
  if (turn == 0 || turn != served_in_) {
    served_in_ = turn;
    served_ = 0;
  }
  return ++served_ > reads_per_turn && !closed_ && !received_.empty();
}

/// Takes the trip through the loop that a read takes which has to wait.
void StreamCore::postpone_read() {
  if (std::exchange(postponed_, true)) return;
  add_ref();
  loop_->next_iteration(*make_job([self = Ref<StreamCore>(this)] {
    self->postponed_ = false;
    if (self->reading()) self->satisfy_from_buffer();
    if (self->reading() && self->read_ended_) self->fail_pending(nullptr, self->closed_error());
    self->arm_if_wanted();
    self->close_if_unused();
  }));
}

Future<std::string> StreamCore::read_bytes(std::size_t count, Partial partial) {
  require_no_read("read_bytes");
  read_.count = count;
  read_.partial = partial == Partial::yes;
  return start_read<std::string>(Read::bytes);
}

Future<std::string> StreamCore::read_until(std::string_view delimiter,
                                           std::optional<std::size_t> max_bytes) {
  if (delimiter.empty()) throw std::invalid_argument("IOStream::read_until: empty delimiter");
  require_no_read("read_until");
  if (read_.delimiter != delimiter) read_.delimiter = delimiter;
  read_.count = max_bytes.value_or(no_limit);
  return start_read<std::string>(Read::until);
}

Future<std::string> StreamCore::read_until_regex(const Regex& regex,
                                                 std::optional<std::size_t> max_bytes) {
  require_no_read("read_until_regex");
  read_.regex = std::make_unique<RegexSearch>(regex);
  read_.count = max_bytes.value_or(no_limit);
  return start_read<std::string>(Read::until_regex);
}

Future<std::size_t> StreamCore::read_into(std::span<char> buffer, Partial partial) {
  require_no_read("read_into");
  read_.target = buffer.data();
  read_.count = buffer.size();
  read_.partial = partial == Partial::yes;
  return start_read<std::size_t>(Read::into);
}

Future<std::string> StreamCore::read_until_close() {
  require_no_read("read_until_close");
  return start_read<std::string>(Read::until_close);
}

std::size_t StreamCore::find_end(std::string_view available) {
  if (read_.kind == Read::bytes) {
    if (available.size() >= read_.count) return read_.count;
    return read_.partial && !available.empty() ? available.size() : not_yet;
  }
  if (read_.kind == Read::until_close) return closed_ || read_ended_ ? available.size() : not_yet;
  if (read_.kind == Read::until_regex) return find_regex_end(available);
  const std::size_t found = read_.delimiter.size() == 1
                                ? available.find(read_.delimiter[0], read_.passed)
                                : available.find(read_.delimiter, read_.passed);
  if (found != std::string_view::npos) {
    const std::size_t end = found + read_.delimiter.size();
    return end <= read_.count ? end : never;
  }
  if (available.size() >= read_.count) return never;
  // The delimiter may have begun in the last bytes.
  const std::size_t tail = read_.delimiter.size() - 1;
  read_.passed = available.size() > tail ? available.size() - tail : 0;
  return not_yet;
}

std::size_t StreamCore::find_regex_end(std::string_view available) {
  const std::size_t end = read_.regex->find_end(available);
  if (end == RegexSearch::limit) return never;
  // A match may end before the bytes that make it one, `a(?=b)`: max_bytes without a match are not
  // yet too many, as those of a delimiter are.
  const bool found = end != RegexSearch::not_yet;
  if ((found ? end : available.size()) > read_.count) return never;
  return found ? end : not_yet;
}

/// Puts bytes into the caller's buffer; true when the read is satisfied.
bool StreamCore::fill_target(std::string_view& data) {
  const std::span<char> rest = read_.rest();
  const std::size_t count = std::min(data.size(), rest.size());
  if (count > 0) std::memcpy(rest.data(), data.data(), count);
  data.remove_prefix(count);
  read_.passed += count;
  return read_.has_enough();
}

/// A read_into that ends otherwise leaves its bytes to the next read.
void StreamCore::put_back_filled() {
  if (read_.kind != Read::into || read_.passed == 0) return;
  received_.insert(consumed_, read_.target, read_.passed);
}

template <class T>
void StreamCore::deliver(T&& result) {
  const auto state = std::move(read_.state);
  read_.kind = Read::none;
  read_.regex.reset();
  auto& typed = static_cast<State<std::remove_cvref_t<T>>&>(*state);
  typed.emplace(std::forward<T>(result));
  typed.complete(Status::value);
}

std::string StreamCore::take_buffered(std::size_t count) {
  if (consumed_ == 0 && count == received_.size()) {
    std::string result;
    result.swap(received_);
    return result;
  }
  std::string result(received_, consumed_, count);
  consume(count);
  return result;
}

void StreamCore::consume(std::size_t count) noexcept {
  consumed_ += count;
  if (consumed_ == received_.size()) {
    consumed_ = 0;
    received_.clear();
    if (received_.capacity() > kept_capacity) std::string().swap(received_);
  } else if (consumed_ > 4096 && consumed_ > received_.size() / 2) {
    received_.erase(0, consumed_);
    consumed_ = 0;
  }
}

void StreamCore::satisfy_from_buffer() {
  if (read_.kind == Read::into) {
    std::string_view data = buffered();
    const std::size_t before = data.size();
    const bool satisfied = fill_target(data);
    consume(before - data.size());
    if (satisfied) deliver(read_.passed);
    return;
  }
  const std::size_t end = find_end(buffered());
  if (end == never) {
    shut_unsatisfiable();
  } else if (end != not_yet) {
    deliver(take_buffered(end));
  }
}

/// The loop's chunk has got so many bytes.
void StreamCore::on_data(std::size_t count) {
  bytes_read_ += count;
  std::string_view data(loop_->chunk(0), count);
  if (read_.kind == Read::into) {
    if (fill_target(data)) deliver(read_.passed);
    received_.append(data);
    return;
  }
  // The common case: nothing is buffered, and what came is what was asked for.
  if (reading() && received_.empty()) {
    const std::size_t end = find_end(data);
    if (end == count) return deliver(loop_->take_chunk(count));
    if (end < never) {
      deliver(std::string(data.substr(0, end)));
      received_.append(data.substr(end));
      return;
    }
    received_.append(data);
    if (end == never) shut_unsatisfiable();
  } else {
    received_.append(data);
    if (reading()) satisfy_from_buffer();
  }
  if (reading() && buffered().size() > options().max_buffer_size) {
    const auto message = fmt::format(
        "Reached maximum read buffer size: a read is not satisfied by {} bytes, and "
        "max_buffer_size is {}",
        buffered().size(), options().max_buffer_size);
    log::gen_log.error("{}", message);
    shut(StreamErrc::buffer_full, std::make_exception_ptr(StreamBufferFullError(message)));
  }
}

void StreamCore::shut_unsatisfiable() {
  if (read_.kind == Read::until_regex && read_.regex->gave_up()) {
    log::gen_log.info("Unsatisfiable read, closing connection: {:?} in {} bytes costs too much",
                      read_.regex->pattern(), buffered().size());
    shut(StreamErrc::regex_limit);
    return;
  }
  log::gen_log.info("Unsatisfiable read, closing connection: {:?} not found within {} bytes",
                    read_.kind == Read::until_regex ? read_.regex->pattern() : read_.delimiter,
                    read_.count);
  shut(StreamErrc::unsatisfiable_read);
}

std::size_t StreamCore::chunk_size() const noexcept {
  return std::max<std::size_t>(1,
                               std::min(options().read_chunk_size, options().max_buffer_size / 2));
}

/// The other end sends no more. Tornado closes the stream then, as this does, unless writing is to
/// go on, or was to be ended in order.
void StreamCore::on_end() {
  read_ended_ = true;
  if (write_shut_ || !(half_open_ || write_end_)) {
    shut({});
    return;
  }
  if (read_.kind == Read::until_close) satisfy_from_buffer();
  if (reading()) fail_pending(nullptr, closed_error());
}

/// One direct read; false when there is no more to get for now.
bool StreamCore::read_once() {
  const bool direct = read_.kind == Read::into;
  const std::size_t size = direct ? read_.rest().size() : chunk_size();
  char* buffer = direct ? read_.rest().data() : loop_->chunk(size);
  const StreamBackend::Result result = backend_->read_from_fd(buffer, size);
  if (result.error) {
    if (result.error == std::errc::operation_would_block) return false;
    // Ahead, before there is a connection. When there is one it is armed again.
    read_unconnected_ = !reading() && says_unconnected(result.error);
    if (!read_unconnected_) shut(result.error);
  } else if (result.bytes == 0) {
    on_end();
  } else if (direct) {
    bytes_read_ += result.bytes;
    read_.passed += result.bytes;
    if (read_.has_enough()) deliver(read_.passed);
  } else {
    on_data(result.bytes);
  }
  return !closed_ && !read_ended_ && result.bytes == size;
}

/// True when more is likely to be there.
bool StreamCore::read_more(std::size_t& reads) {
  const std::uint64_t before = bytes_read_;
  while (reads > 0 && reading()) {
    --reads;
    if (!read_once()) return false;
  }
  return bytes_read_ - before >= much;
}

bool StreamCore::wants_to_read() const noexcept {
  if (closed_ || connecting_ || broken_ || postponed_ || read_ended_) return false;
  return reading() || (close_job_ != nullptr && received_.empty() && !read_unconnected_);
}

void StreamCore::arm_if_wanted() noexcept {
  if (!read_armed_ && wants_to_read()) loop_->add_arming(*this);
}

bool StreamCore::arm(std::size_t& reads) noexcept {
  if (read_armed_) return false;
  const bool more = reading() && wants_to_read() && try_to_read(reads);
  if (!wants_to_read()) return more;
  read_armed_ = true;
  backend_->wait(StreamBackend::Interest::read,
                 StreamBackend::Ready(*this, nullptr, StreamBackend::Interest::read));
  return false;
}

bool StreamCore::try_to_read(std::size_t& reads) noexcept {
  bool more = false;
  try {
    more = read_more(reads);
  } catch (const std::bad_alloc&) {
    shut(std::make_error_code(std::errc::not_enough_memory));
  }
  close_if_unused();
  return more;
}

}  // namespace tornado::detail
