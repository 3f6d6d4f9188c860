// SPDX-License-Identifier: Apache-2.0
#include "stream_core.hpp"

#include "socket_backend.hpp"
#include "tornado/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace tornado::detail {
namespace {

// So many chunks are read for one stream before the others get their turn.
constexpr int chunks_per_turn = 16;
// Capacity that an idle stream's buffer may keep.
constexpr std::size_t kept_capacity = 256;

template <class T>
Future<T> failed(std::exception_ptr error, bool quiet) {
  Future<T> future;
  Access::state(future)->observed = quiet;
  future.set_exception(std::move(error));
  return future;
}

// What reading from a socket gives that is not connected yet: a TCP and a Unix one.
bool says_unconnected(const std::error_code& error) {
  return error == std::errc::not_connected || error == std::errc::invalid_argument;
}

}  // namespace

StreamCore::StreamCore(std::unique_ptr<StreamBackend> backend, const IOStreamOptions& options)
    : loop_(LoopCore::current().shared_from_this()),
      backend_(std::move(backend)),
      options_(options) {
  if (!backend_) throw std::invalid_argument("IOStream: the backend is null");
  if (options_.max_buffer_size == 0 || options_.read_chunk_size == 0) {
    throw std::invalid_argument(
        "IOStream: max_buffer_size and read_chunk_size have to be 1 or more");
  }
  loop_->add_client(*this);
}

StreamCore::~StreamCore() {
  if (close_job_ != nullptr) close_job_->handle(Node::Event::drop);
}

// ---- reading

template <class T>
Future<T> StreamCore::begin_read(const char* call, Read::Kind kind) {
  if (reading()) {
    throw std::logic_error(fmt::format("IOStream::{}: another read is pending", call));
  }
  Future<T> future;
  State<T>* state = Access::state(future);
  state->observed = true;  // nobody needs to be told that a stream was closed
  state->set_origin(this);
  state->add_ref();
  read_ = Read();
  read_.state = Ref<StateBase>(state);
  read_.kind = kind;
  return future;
}

template <class T>
Future<T> StreamCore::try_read(Future<T> future) {
  satisfy_from_buffer();
  if (reading() && closed_) fail_pending(nullptr, closed_error());
  arm_if_wanted();
  return future;
}

Future<std::string> StreamCore::read_bytes(std::size_t count, Partial partial) {
  auto future = begin_read<std::string>("read_bytes", Read::bytes);
  read_.count = count;
  read_.partial = partial == Partial::yes;
  return try_read(std::move(future));
}

Future<std::string> StreamCore::read_until(std::string_view delimiter,
                                           std::optional<std::size_t> max_bytes) {
  if (delimiter.empty()) throw std::invalid_argument("IOStream::read_until: empty delimiter");
  auto future = begin_read<std::string>("read_until", Read::until);
  read_.delimiter = delimiter;
  read_.count = max_bytes.value_or(no_limit);
  return try_read(std::move(future));
}

Future<std::size_t> StreamCore::read_into(std::span<char> buffer, Partial partial) {
  auto future = begin_read<std::size_t>("read_into", Read::into);
  read_.target = buffer;
  read_.partial = partial == Partial::yes;
  return try_read(std::move(future));
}

Future<std::string> StreamCore::read_until_close() {
  return try_read(begin_read<std::string>("read_until_close", Read::until_close));
}

std::size_t StreamCore::find_end(std::string_view available) {
  if (read_.kind == Read::bytes) {
    if (available.size() >= read_.count) return read_.count;
    return read_.partial && !available.empty() ? available.size() : not_yet;
  }
  if (read_.kind == Read::until_close) return closed_ ? available.size() : not_yet;
  const std::size_t found = available.find(read_.delimiter, read_.scanned);
  if (found != std::string_view::npos) {
    const std::size_t end = found + read_.delimiter.size();
    return end <= read_.count ? end : never;
  }
  if (available.size() >= read_.count) return never;
  // The delimiter may have begun in the last bytes.
  const std::size_t tail = read_.delimiter.size() - 1;
  read_.scanned = available.size() > tail ? available.size() - tail : 0;
  return not_yet;
}

/// Puts bytes into the caller's buffer; true when the read is satisfied.
bool StreamCore::fill_target(std::string_view& data) {
  const std::size_t count = std::min(data.size(), read_.target.size());
  if (count > 0) std::memcpy(read_.target.data(), data.data(), count);
  data.remove_prefix(count);
  read_.target = read_.target.subspan(count);
  read_.filled += count;
  return read_.target.empty() || (read_.partial && read_.filled > 0);
}

/// A read_into that ends otherwise leaves its bytes to the next read.
void StreamCore::put_back_filled() {
  if (read_.kind != Read::into || read_.filled == 0) return;
  received_.insert(consumed_, read_.target.data() - read_.filled, read_.filled);
}

template <class T>
void StreamCore::deliver(T result) {
  const auto state = std::move(read_.state);
  read_ = Read();
  auto& typed = static_cast<State<T>&>(*state);
  typed.emplace(std::move(result));
  typed.complete(Status::value);
}

std::string StreamCore::take_buffered(std::size_t count) {
  std::string result;
  if (consumed_ == 0 && count == received_.size()) {
    result.swap(received_);
  } else {
    result = buffered().substr(0, count);
    consume(count);
  }
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
    if (satisfied) deliver(read_.filled);
    return;
  }
  const std::size_t end = find_end(buffered());
  if (end == never) {
    shut_unsatisfiable();
  } else if (end != not_yet) {
    deliver(take_buffered(end));
  }
}

void StreamCore::on_data(std::string_view data) {
  if (read_.kind == Read::into) {
    if (fill_target(data)) deliver(read_.filled);
    received_.append(data);
    return;
  }
  // The common case: nothing is buffered, and what came is what was asked for.
  if (reading() && received_.empty()) {
    const std::size_t end = find_end(data);
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
  if (reading() && buffered().size() > options_.max_buffer_size) {
    const auto message = fmt::format(
        "Reached maximum read buffer size: a read is not satisfied by {} bytes, and "
        "max_buffer_size is {}",
        buffered().size(), options_.max_buffer_size);
    log::gen_log.error("{}", message);
    shut(StreamErrc::buffer_full, std::make_exception_ptr(StreamBufferFullError(message)));
  }
}

void StreamCore::shut_unsatisfiable() {
  log::gen_log.info("Unsatisfiable read, closing connection: {:?} not found within {} bytes",
                    read_.delimiter, read_.count);
  shut(StreamErrc::unsatisfiable_read);
}

std::size_t StreamCore::chunk_size() const noexcept {
  return std::max<std::size_t>(1, std::min(options_.read_chunk_size, options_.max_buffer_size / 2));
}

/// What a waiting read may fill.
std::span<char> StreamCore::early() noexcept {
  return {early_, std::min(sizeof early_, chunk_size())};
}

/// One direct read; false when there is no more to get for now.
bool StreamCore::read_once() {
  const bool direct = read_.kind == Read::into;
  const std::size_t size = direct ? read_.target.size() : chunk_size();
  char* buffer = direct ? read_.target.data() : loop_->chunk(size);
  const StreamBackend::Result result = backend_->read_from_fd(buffer, size);
  if (result.error == std::errc::operation_would_block) return false;
  if (result.error) {
    shut(result.error);
  } else if (result.bytes == 0) {
    shut({});
  } else if (direct) {
    read_.target = read_.target.subspan(result.bytes);
    read_.filled += result.bytes;
    if (read_.target.empty() || read_.partial) deliver(read_.filled);
  } else {
    on_data(std::string_view(buffer, result.bytes));
  }
  return !closed_ && result.bytes == size;
}

/// A waiting read has got `count` bytes. When they fill its buffer there is likely more, which is
/// taken before they are used: a partial read should not be content with so few.
void StreamCore::on_early_data(std::size_t count) {
  if (!reading() || count < early().size()) {
    on_data(std::string_view(early_, count));
    return;
  }
  const std::size_t size = chunk_size();
  char* buffer = loop_->chunk(count + size);
  std::memcpy(buffer, early_, count);
  const StreamBackend::Result more = backend_->read_from_fd(buffer + count, size);
  on_data(std::string_view(buffer, count + more.bytes));
  if (more.error == std::errc::operation_would_block) return;
  if (more.error || more.bytes == 0) {
    shut(more.error);
  } else if (more.bytes == size) {
    read_more();
  }
}

void StreamCore::read_more() {
  for (int i = 0; i < chunks_per_turn && reading(); ++i) {
    if (!read_once()) return;
  }
}

bool StreamCore::wants_to_read() const noexcept {
  if (closed_ || connecting_ || broken_ || paused_) return false;
  return reading() || (close_job_ != nullptr && received_.empty());
}

void StreamCore::arm_if_wanted() noexcept {
  if (!read_armed_ && wants_to_read()) loop_->add_arming(*this);
}

void StreamCore::arm() noexcept {
  if (read_armed_ || !wants_to_read()) return;
  read_armed_ = true;
  backend_->wait(StreamBackend::Interest::read, early(),
                 StreamBackend::Ready(*this, StreamBackend::Interest::read));
}

void StreamCore::on_ready(StreamBackend::Interest interest, StreamBackend::Result result,
                          bool ended) {
  if (closed_) return;
  const LoopCore::Turn turn(*loop_);
  if (interest == StreamBackend::Interest::write) {
    write_armed_ = false;
    if (connecting_) {
      if (result.error) {
        shut(result.error);
      } else {
        on_connected();
      }
    } else if (result.error) {
      on_write_error(result.error);
    } else {
      loop_->add_dirty(*this);
    }
    return;
  }
  read_armed_ = false;
  if (paused_) {
    on_ready_in_pause(result);
    return;
  }
  // Armed before there was a connection. When there is one it is armed again.
  if (says_unconnected(result.error) && (connecting_ || !reading())) return;
  if (ended || result.error) {
    shut(result.error);
    return;
  }
  if (result.bytes > 0) {
    on_early_data(result.bytes);
  } else if (reading()) {
    read_more();
  } else if (wants_to_read()) {
    read_once();  // ahead
  }
  arm_if_wanted();
  close_if_unused();
}

// ---- writing

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
                 StreamBackend::Ready(*this, StreamBackend::Interest::write));
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

// ---- connecting

Future<IOStream> StreamCore::connect(const Address& address) {
  if (closed_) return failed<IOStream>(closed_error(), true);
  if (connecting_) throw std::logic_error("IOStream::connect: the stream is connecting already");
  // The system tells this only of a stream that was accepted, not always of one that has connected.
  const std::error_code error =
      connected_ ? std::make_error_code(std::errc::already_connected) : backend_->connect(address);
  if (error == std::errc::already_connected) {
    throw std::logic_error("IOStream::connect: the stream is connected already");
  }
  Future<IOStream> future;
  State<IOStream>* state = Access::state(future);
  state->observed = true;
  state->set_origin(this);
  state->add_ref();
  connect_ = Ref<State<IOStream>>(state);
  connect_to_ = address;
  connecting_ = true;
  on_connect_begun(error);
  return future;
}

void StreamCore::try_connect() {
  if (!closed_) on_connect_begun(backend_->connect(connect_to_));
}

void StreamCore::on_connect_begun(std::error_code error) {
  if (error == std::errc::operation_would_block) {
    // A Unix socket whose backlog is full: nothing tells when there is room again.
    add_ref();
    loop_->owner().call_later(std::chrono::milliseconds(10),
                              [self = Ref<StreamCore>(this)] { self->try_connect(); });
  } else if (error) {
    shut(error);
  } else {
    wait_to_write();
  }
}

void StreamCore::on_connected() {
  if (const std::error_code error = backend_->get_fd_error()) {
    shut(error);
    return;
  }
  connecting_ = false;
  connected_ = true;
  const auto state = std::exchange(connect_, {});
  if (!unsent_.empty()) loop_->add_dirty(*this);
  arm_if_wanted();
  state->emplace(IOStream(this));
  state->complete(Status::value);
}

// ---- giving the socket away

void StreamCore::require_releasable() const {
  if (closed_) return;
  if (dynamic_cast<ReleasableBackend*>(backend_.get()) == nullptr) {
    throw std::logic_error("release_socket: the stream has no socket");
  }
  if (connecting_) throw std::logic_error("release_socket: the stream is connecting");
  if (reading()) throw std::logic_error("release_socket: a read is pending");
}

Future<void> StreamCore::end_read_ahead() {
  Future<void> future;
  State<void>* state = Access::state(future);
  state->add_ref();
  read_ahead_ended_ = Ref<State<void>>(state);
  static_cast<ReleasableBackend&>(*backend_).cancel_waits();
  return future;
}

/// The wait was given up; or it came first, and its bytes must not be lost. That the other end has
/// closed, whoever gets the socket will find for himself.
void StreamCore::on_ready_in_pause(const StreamBackend::Result& result) {
  received_.append(early_, result.bytes);
  if (result.error && result.error != std::errc::operation_canceled) shut(result.error);
  const auto state = std::exchange(read_ahead_ended_, {});
  if (state && !state->done()) state->complete(Status::value);
}

Socket StreamCore::detach(std::string& received) {
  received = take_buffered(buffered().size());
  Socket socket(static_cast<ReleasableBackend&>(*backend_).release());
  closed_ = true;
  if (Node* job = std::exchange(close_job_, nullptr)) job->handle(Node::Event::drop);
  return socket;
}

// ---- the end

std::string StreamCore::describe() const {
  if (connecting_) return fmt::format("a connection to {}", connect_to_.str());
  return fmt::format("a read from fd {}", fileno());
}

// Cancelling a read leaves its bytes; cancelling a connect closes. Writes have no origin: what was
// accepted is sent.
Origin::Answer StreamCore::cancel_requested(StateBase& state) noexcept {
  add_ref();
  if (read_.state.get() == &state) {
    put_back_filled();
    const auto ended = std::exchange(read_, Read());
    close_if_unused();
  } else {
    const auto ended = std::exchange(connect_, {});
    shut(std::make_error_code(std::errc::operation_canceled));
  }
  release();
  return Answer::ended;
}

void StreamCore::shut(std::error_code error, const std::exception_ptr& for_reader) {
  if (closed_) return;
  // Once, unless the connection itself has failed. Sending may find that out.
  if (!error || error.category() == stream_category()) send();
  if (closed_) return;
  error_ = error ? error : broken_;
  closed_ = true;
  backend_->close_fd();
  if (read_.kind == Read::until_close && !for_reader) satisfy_from_buffer();
  const std::exception_ptr closed =
      closed_error(connecting_ ? fmt::format("connect to {}", connect_to_.str()) : std::string());
  fail_pending(closed, for_reader ? for_reader : closed);
  if (Node* job = std::exchange(close_job_, nullptr)) loop_->next_iteration(*job);
}

/// Fails the read with `for_reader`; all else with `error`, unless that is null.
void StreamCore::fail_pending(const std::exception_ptr& error,
                              const std::exception_ptr& for_reader) {
  if (reading()) {
    put_back_filled();
    const auto ended = std::exchange(read_, Read());
    ended.state->fail(for_reader);
  }
  if (!error) return;
  for (Write& write : take_pending_writes()) {
    if (!write.state->done()) write.state->fail(error);
  }
  if (connect_) std::exchange(connect_, {})->fail(error);
  if (const auto state = std::exchange(read_ahead_ended_, {}); state && !state->done()) {
    state->complete(Status::value);
  }
  unsent_.clear();
}

std::exception_ptr StreamCore::closed_error(const std::string& doing) const {
  return std::make_exception_ptr(StreamClosedError(error_, doing));
}

void StreamCore::close_if_unused() {
  if (handles_ == 0 && !closed_ && !reading() && unsent_.empty() && !connecting_) shut({});
}

void StreamCore::set_close_job(Node* job) noexcept {
  add_ref();  // the old callback may hold the last handle
  if (Node* old = std::exchange(close_job_, job)) old->handle(Node::Event::drop);
  if (job != nullptr && closed_) {
    close_job_ = nullptr;
    loop_->post(*job);
  }
  arm_if_wanted();
  release();
}

void StreamCore::on_loop_close() noexcept {
  add_ref();
  if (!loop_->forked()) send();  // or the parent's bytes would leave twice
  if (!closed_) {
    closed_ = true;
    backend_->close_fd();
  }
  backend_.reset();
  for (Write& write : take_pending_writes()) {
    if (!write.state->done()) write.state->abandon();
  }
  if (connect_) std::exchange(connect_, {})->abandon();
  if (const auto state = std::exchange(read_ahead_ended_, {}); state && !state->done()) {
    state->abandon();
  }
  if (reading()) std::exchange(read_, Read()).state->abandon();
  if (Node* job = std::exchange(close_job_, nullptr)) job->handle(Node::Event::drop);
  release();
}

}  // namespace tornado::detail
