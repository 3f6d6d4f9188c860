// SPDX-License-Identifier: Apache-2.0
//
// Of a stream: how it begins, what the backend tells it, and how it ends.
#include "stream_core.hpp"

#include "socket_backend.hpp"

#include <fmt/format.h>

#include <chrono>
#include <stdexcept>

namespace tornado::detail {
StreamCore::StreamCore(std::unique_ptr<StreamBackend> backend, const IOStreamOptions& options)
    : loop_(LoopCore::current().shared_from_this()),
      backend_(std::move(backend)),
      options_(loop_->share_options(options)),
      half_open_(options.allow_half_open) {
  if (!backend_) throw std::invalid_argument("IOStream: the backend is null");
  if (options.max_buffer_size == 0 || options.read_chunk_size == 0) {
    throw std::invalid_argument(
        "IOStream: max_buffer_size and read_chunk_size have to be 1 or more");
  }
  loop_->add_client(*this);
}

StreamCore::~StreamCore() {
  if (close_job_ != nullptr) close_job_->handle(Node::Event::drop);
}

void StreamCore::on_ready(StreamBackend::Interest interest, std::error_code error) {
  if (closed_) return;
  const LoopCore::Turn turn(*loop_);
  if (interest == StreamBackend::Interest::write) {
    on_writable(error);
    return;
  }
  if (std::exchange(read_adopted_, false)) {
    tls()->on_lower_ready(interest, error);
    return;
  }
  read_armed_ = false;
  if (connecting_) return;  // armed before; when there is a connection it is armed again
  if (error) {
    shut(error);
  } else if (reading()) {
    std::size_t reads = reads_in_a_row;
    read_more(reads);
  } else if (wants_to_read()) {
    read_once();  // ahead
  }
  arm_if_wanted();
  close_if_unused();
}

void StreamCore::on_writable(std::error_code error) {
  write_armed_ = false;
  if (connecting_) {
    if (error) {
      fail_connecting(error);
    } else {
      on_connected();
    }
  } else if (error) {
    on_write_error(error);
  } else {
    loop_->add_dirty(*this);
  }
}

// ---- connecting

template <class T>
Future<T> StreamCore::connect_as(Ref<State<T>> Attempt::*waiting, const Address& address) {
  if (closed_) return failed<T>(closed_error(), true);
  if (connecting_) throw std::logic_error("IOStream::connect: the stream is connecting already");
  if (encrypted_) tls()->require_hostname();
  // The system tells this only of a stream that was accepted, not always of one that has connected.
  const std::error_code error =
      connected_ ? std::make_error_code(std::errc::already_connected) : backend_->connect(address);
  if (error == std::errc::already_connected) {
    throw std::logic_error("IOStream::connect: the stream is connected already");
  }
  Future<T> future = wait_in(attempt().*waiting);
  Access::state(future)->set_origin(this);
  attempt_->to = address;
  connecting_ = true;
  on_connect_begun(error);
  return future;
}

Future<IOStream> StreamCore::connect(const Address& address) {
  return connect_as(&Attempt::connection, address);
}

Future<SSLIOStream> StreamCore::connect_tls(const Address& address,
                                            std::string_view server_hostname,
                                            const SSLSession& session) {
  // Whoever waits already goes on waiting.
  if (awaits_handshake()) {
    throw std::logic_error("SSLIOStream::connect: the handshake is being waited for already");
  }
  if (!closed_ && !connecting_ && !connected_) tls()->set_server_hostname(server_hostname, session);
  return connect_as(&Attempt::handshake, address);
}

void StreamCore::try_connect() {
  if (!closed_) on_connect_begun(backend_->connect(attempt_->to));
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
  connecting_ = read_unconnected_ = false;
  connected_ = true;
  if (writing()) loop_->add_dirty(*this);
  arm_if_wanted();
  std::exchange(attempt_, nullptr)->end([this]<class T>(State<T>& state) {
    state.emplace(T(this));
    state.complete(Status::value);
  });
  close_if_unused();
}

// ---- giving the socket away

ReleasableBackend* StreamCore::releasable() const noexcept {
  return dynamic_cast<ReleasableBackend*>(backend_.get());
}

void StreamCore::require_releasable() const {
  if (closed_) return;
  if (releasable() == nullptr) {
    throw std::logic_error("release_socket: the stream has no socket");
  }
  if (connecting_) throw std::logic_error("release_socket: the stream is connecting");
  if (reading()) throw std::logic_error("release_socket: a read is pending");
}

Socket StreamCore::detach(std::string& received) {
  received = take_buffered(buffered().size());
  Socket socket(releasable()->release());
  closed_ = true;
  if (Node* job = std::exchange(close_job_, nullptr)) job->handle(Node::Event::drop);
  return socket;
}

// ---- the end

std::string StreamCore::describe() const {
  if (connecting_) return fmt::format("a connection to {}", attempt_->to.str());
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
    attempt_->forget(state);
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
  if (error) error_ = error;
  const std::string doing = connecting_ ? describe_connecting() : std::string();
  if (encrypted_ && sent_ < written_) tls()->abandon();
  closed_ = true;
  backend_->close_fd();
  if ((read_.kind == Read::until_close || postponed_) && !for_reader && reading()) {
    satisfy_from_buffer();
  }
  const std::exception_ptr closed = closed_error(doing);
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
  if (outgoing_) complete_writes();  // an error may follow on what the same turn has sent
  if (const auto unsent = std::move(outgoing_)) {
    for (const auto& write : unsent->writes) {
      if (write.state && !write.state->done()) write.state->fail(error);
    }
    for (const auto& state : unsent->drains) {
      if (!state->done()) state->fail(error);
    }
  }
  if (write_end_ && !write_end_->done()) write_end_->fail(error);
  if (attempt_) attempt_->end([&error](StateBase& state) { state.fail(error); });
}

std::exception_ptr StreamCore::closed_error(const std::string& doing) const {
  if (error_ || !doing.empty()) return std::make_exception_ptr(StreamClosedError(error_, doing));
  static const std::exception_ptr in_order = std::make_exception_ptr(StreamClosedError());
  return in_order;
}

void StreamCore::close_if_unused() {
  if (handles_ == 0 && !closed_ && !reading() && !writing() && !awaits_connection()) shut({});
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
  if (const auto unsent = std::move(outgoing_)) {
    for (const auto& write : unsent->writes) {
      if (write.state && !write.state->done()) write.state->abandon();
    }
    for (const auto& state : unsent->drains) {
      if (!state->done()) state->abandon();
    }
  }
  if (write_end_ && !write_end_->done()) write_end_->abandon();
  if (attempt_) attempt_->end([](StateBase& state) { state.abandon(); });
  if (reading()) std::exchange(read_, Read()).state->abandon();
  if (Node* job = std::exchange(close_job_, nullptr)) job->handle(Node::Event::drop);
  release();
}

}  // namespace tornado::detail
