// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/asio_inl.hpp: the template bodies of tornado/asio.hpp, apart from it for the
// reader's sake.
#pragma once

#include "tornado/asio.hpp"
#include "tornado/gen.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tornado::detail {

/// Asio of 1.22 has system errors in a category of its own.
inline std::error_code translated(const std::error_code& error) {
  if (error.category() == asio::error::get_system_category()) {
    return {error.value(), std::system_category()};
  }
  return error;
}

// The categories of Asio are one per shared library: what names them has to be compiled in the
// program.

// ---- Asio operations as Futures

inline bool says_cancelled(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const CancelledError&) {
    return true;
  } catch (const std::system_error& e) {
    return e.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

/// What a handler's parameters say: an error in front, if there is one, and a value.
template <class... Args>
struct Outcome {
  static constexpr bool has_error = false;
  using Values = std::tuple<Args...>;
};
template <class... Args>
struct Outcome<std::error_code, Args...> {
  static constexpr bool has_error = true;
  using Values = std::tuple<Args...>;
};
template <class... Args>
struct Outcome<std::exception_ptr, Args...> {
  static constexpr bool has_error = true;
  using Values = std::tuple<Args...>;
};
template <class Tuple>
struct FutureValue {
  using type = Tuple;
};
template <>
struct FutureValue<std::tuple<>> {
  using type = void;
};
template <class T>
struct FutureValue<std::tuple<T>> {
  using type = T;
};

TORNADO_EXPORT asio::any_io_executor executor_of(LoopCore& core);

/// An Asio operation behind a Future: part of its handler, which may travel. Belongs to the loop's
/// thread, but for its end when the handler is dropped.
class TORNADO_EXPORT PendingOperation : public Origin {
 public:
  std::shared_ptr<LoopCore> core;

 protected:
  /// For the current loop.
  PendingOperation();
  ~PendingOperation();

  /// The state is done, in a turn of the loop; an error, or the value, was stored before.
  void complete(StateBase& state, Status status) noexcept;
  /// The handler was dropped: the loop's thread is told. Takes over a reference.
  void drop(StateBase* state) noexcept;
};

template <class T>
class FutureOperation final : public PendingOperation,
                              public std::enable_shared_from_this<FutureOperation<T>> {
 public:
  FutureOperation() : state_(State<T>::create()) { state_->set_origin(this); }
  ~FutureOperation() {
    if (state_ != nullptr) drop(state_);
  }

  Future<T> future() const {
    state_->add_ref();
    return Access::adopt(state_);
  }
  asio::cancellation_slot slot() noexcept { return signal_.slot(); }

  template <class... Values>
  void finish(const std::error_code& error, Values&&... values) {
    if (!error) {
      succeed(std::forward<Values>(values)...);
    } else if (cancel_asked_ && error == asio::error::operation_aborted) {
      end(Status::cancelled);
    } else {
      fail(std::make_exception_ptr(std::system_error(translated(error))));
    }
  }
  template <class... Values>
  void finish(std::exception_ptr error, Values&&... values) {
    if (error) {
      if (cancel_asked_ && says_cancelled(error)) return end(Status::cancelled);
      fail(std::move(error));
    } else {
      succeed(std::forward<Values>(values)...);
    }
  }
  template <class... Values>
  void succeed(Values&&... values) {
    try {
      if (state_->done()) return end(Status::value);  // somebody else completed it
      state_->emplace(std::forward<Values>(values)...);
    } catch (...) {
      fail(std::current_exception());
      return;
    }
    end(Status::value);
  }

 private:
  Answer cancel_requested(StateBase&) noexcept override {
    const auto self = this->shared_from_this();  // its handler may be called meanwhile
    cancel_asked_ = true;
    signal_.emit(asio::cancellation_type::all);
    return Answer::later;
  }
  void fail(std::exception_ptr error) {
    state_->error = std::move(error);
    end(Status::error);
  }
  void end(Status status) noexcept {
    const Ref<State<T>> state(std::exchange(state_, nullptr));
    if (status != Status::cancelled) state->cancel_unmet = cancel_asked_;
    complete(*state, status);
  }

  State<T>* state_;
  asio::cancellation_signal signal_;
  bool cancel_asked_ = false;
};

template <class... Args>
class FutureHandler {
 public:
  using Value = typename FutureValue<typename Outcome<std::decay_t<Args>...>::Values>::type;
  using executor_type = asio::any_io_executor;
  using cancellation_slot_type = asio::cancellation_slot;

  explicit FutureHandler(const std::shared_ptr<FutureOperation<Value>>& operation)
      : operation_(operation), executor_(executor_of(*operation->core)) {}

  executor_type get_executor() const noexcept { return executor_; }
  cancellation_slot_type get_cancellation_slot() const noexcept { return operation_->slot(); }

  void operator()(Args... args) {
    const auto operation = std::move(operation_);
    if constexpr (Outcome<std::decay_t<Args>...>::has_error) {
      operation->finish(std::forward<Args>(args)...);
    } else {
      operation->succeed(std::forward<Args>(args)...);
    }
  }

 private:
  std::shared_ptr<FutureOperation<Value>> operation_;
  executor_type executor_;
};

}  // namespace tornado::detail

/// What makes `as_future` a completion token.
template <class R, class... Args>
class asio::async_result<tornado::AsFuture, R(Args...)> {
 public:
  using Handler = tornado::detail::FutureHandler<Args...>;
  using return_type = tornado::Future<typename Handler::Value>;

  template <class Initiation, class... InitArgs>
  static return_type initiate(Initiation&& initiation, const tornado::AsFuture&,
                              InitArgs&&... args) {
    const auto operation =
        std::make_shared<tornado::detail::FutureOperation<typename Handler::Value>>();
    auto future = operation->future();
    std::forward<Initiation>(initiation)(Handler(operation), std::forward<InitArgs>(args)...);
    return future;
  }
};

namespace tornado::detail {

// ---- Futures as Asio operations

TORNADO_EXPORT std::shared_ptr<LoopCore> current_core();
/// The core's context is being destroyed: nothing may be posted there.
TORNADO_EXPORT bool context_ends(const LoopCore& core) noexcept;

/// A handler that waits for a Future. `convert(future)` makes its arguments, on the loop's thread;
/// of a null pointer, when it is given up.
template <class T, class Handler, class Convert>
class AsyncWait : public std::enable_shared_from_this<AsyncWait<T, Handler, Convert>> {
 public:
  static void start(const Future<T>& future, Handler handler, Convert convert) {
    const auto self = std::make_shared<AsyncWait>(future, std::move(handler), std::move(convert));
    if (self->slot_.is_connected()) {
      self->slot_.assign([wait = self->weak_from_this()](asio::cancellation_type) {
        if (const auto waiting = wait.lock()) waiting->cancel();
      });
    }
    future.add_done_callback(Callback(self));
  }

  AsyncWait(const Future<T>& future, Handler handler, Convert convert)
      : core_(current_core()),
        future_(future),
        executor_(asio::get_associated_executor(handler, executor_of(*core_))),
        work_(executor_),
        slot_(asio::get_associated_cancellation_slot(handler)),
        handler_(std::move(handler)),
        convert_(std::move(convert)) {}

 private:
  /// The Future's, which drops it when the loop is closed.
  class Callback {
   public:
    explicit Callback(std::shared_ptr<AsyncWait> wait) noexcept : wait_(std::move(wait)) {}
    Callback(Callback&&) noexcept = default;
    Callback& operator=(Callback&&) = delete;
    ~Callback() {
      if (wait_) wait_->finish(nullptr);
    }
    void operator()(const Future<T>& done) { std::exchange(wait_, nullptr)->finish(&done); }

   private:
    std::shared_ptr<AsyncWait> wait_;
  };

  void cancel() {
    if (is_awaited(*Access::state(future_))) {
      finish(nullptr);
    } else {
      future_.cancel();
    }
  }

  void finish(const Future<T>* done) {
    if (!handler_) return;
    slot_.clear();
    Handler handler = std::move(*handler_);
    handler_.reset();
    if (context_ends(*core_)) return;
    asio::post(executor_, [handler = std::move(handler), arguments = convert_(done)]() mutable {
      std::apply(std::move(handler), std::move(arguments));
    });
    work_.reset();
  }

  using ExecutorType = asio::associated_executor_t<Handler, asio::any_io_executor>;

  const std::shared_ptr<LoopCore> core_;
  const Future<T> future_;
  const ExecutorType executor_;
  asio::executor_work_guard<ExecutorType> work_;
  asio::associated_cancellation_slot_t<Handler> slot_;
  std::optional<Handler> handler_;
  Convert convert_;
};

template <class T, class Handler, class Convert>
void wait_for(const Future<T>& future, Handler handler, Convert convert) {
  AsyncWait<T, Handler, Convert>::start(future, std::move(handler), std::move(convert));
}

/// The arguments of async_wait's handler.
template <class T>
class WaitResult {
 public:
  using Signature = void(std::exception_ptr, T);
  std::tuple<std::exception_ptr, T> operator()(const Future<T>* done) const {
    std::exception_ptr error = error_of(done);
    if (!error) {
      try {
        return {nullptr, Access::state(*done)->take(false)};
      } catch (...) {
        error = std::current_exception();
      }
    }
    return {std::move(error), T()};
  }

  static std::exception_ptr error_of(const Future<T>* done) {
    if (done != nullptr && !done->cancelled()) return done->exception();
    return std::make_exception_ptr(std::system_error(asio::error::operation_aborted));
  }
};
template <>
class WaitResult<void> {
 public:
  using Signature = void(std::exception_ptr);
  std::tuple<std::exception_ptr> operator()(const Future<void>* done) const {
    if (done != nullptr && !done->cancelled()) return {done->exception()};
    return {std::make_exception_ptr(std::system_error(asio::error::operation_aborted))};
  }
};

/// Why a stream's operation failed, as Asio says it; `at_end` where the connection has ended.
inline std::error_code asio_error(const std::exception_ptr& error, std::error_code at_end) {
  try {
    std::rethrow_exception(error);
  } catch (const StreamClosedError& closed) {
    const std::error_code why = closed.real_error();
    if (!why) return at_end;
    if (why.category() != std::system_category()) return why;
    return {why.value(), asio::error::get_system_category()};
  } catch (const StreamBufferFullError&) {
    return asio::error::no_buffer_space;
  } catch (...) {
    return asio::error::fault;
  }
}

class ReadResult {
 public:
  std::tuple<std::error_code, std::size_t> operator()(const Future<std::size_t>* done) const {
    if (done == nullptr || done->cancelled()) return {asio::error::operation_aborted, 0};
    if (const auto error = done->exception()) return {asio_error(error, asio::error::eof), 0};
    return {std::error_code(), done->result()};
  }
};
class WriteResult {
 public:
  explicit WriteResult(std::size_t size) noexcept : size_(size) {}
  std::tuple<std::error_code, std::size_t> operator()(const Future<void>* done) const {
    if (done == nullptr || done->cancelled()) return {asio::error::operation_aborted, 0};
    if (const auto error = done->exception())
      return {asio_error(error, asio::error::broken_pipe), 0};
    return {std::error_code(), size_};
  }

 private:
  std::size_t size_;
};

TORNADO_EXPORT asio::any_io_executor executor_of(const IOStream& stream);

// ---- Sockets in and out

class TORNADO_EXPORT DetachedSocket {
 public:
  DetachedSocket(Socket the_socket, std::string the_bytes);
  DetachedSocket(DetachedSocket&&) noexcept;
  DetachedSocket& operator=(DetachedSocket&&) noexcept;
  ~DetachedSocket();
  Socket socket;
  std::string received;
};
/// What release_socket throws.
TORNADO_EXPORT void require_releasable(const IOStream& stream);
TORNADO_EXPORT Future<DetachedSocket> detach_socket(IOStream stream);

/// The protocol of a socket; of a socket of some other family, one with another family.
template <class Protocol>
Protocol protocol_for(int family) {
  if constexpr (requires { Protocol::v6(); }) {
    return family == Protocol::v6().family() ? Protocol::v6() : Protocol::v4();
  } else {
    static_cast<void>(family);
    return Protocol();
  }
}

template <class Protocol>
Future<ReleasedSocket<Protocol>> release_socket_as(IOStream stream, Protocol protocol) {
  const asio::any_io_executor executor = executor_of(stream);
  DetachedSocket detached = co_await detach_socket(std::move(stream));
  typename Protocol::socket socket(executor, protocol, detached.socket.native_handle());
  static_cast<void>(detached.socket.release());
  co_return ReleasedSocket<Protocol>(std::move(socket), std::move(detached.received));
}

}  // namespace tornado::detail

namespace tornado {

template <class T, class Token>
auto async_wait(Future<T> future, Token&& token) {
  using Result = detail::WaitResult<T>;
  static_assert(std::is_void_v<T> || std::is_default_constructible_v<T>,
                "async_wait needs a T that can be made of nothing, for handlers that get an error");
  return asio::async_initiate<Token, typename Result::Signature>(
      [](auto handler, const Future<T>& waited) {
        detail::wait_for(waited, std::move(handler), Result());
      },
      token, std::move(future));
}

template <class Protocol, class Executor>
IOStream make_iostream(asio::basic_stream_socket<Protocol, Executor> socket,
                       const IOStreamOptions& options) {
  return IOStream(Socket(socket.release()), options);
}

template <class Protocol>
Future<ReleasedSocket<Protocol>> release_socket(IOStream stream) {
  detail::require_releasable(stream);
  const int family = stream.closed() ? 0 : stream.local_address().family();
  const auto protocol = detail::protocol_for<Protocol>(family);
  if (family != 0 && protocol.family() != family) {
    throw std::invalid_argument("release_socket: the stream's socket is of another protocol");
  }
  return detail::release_socket_as<Protocol>(std::move(stream), protocol);
}

inline AsioStream::AsioStream(IOStream stream)
    : stream_(std::move(stream)), executor_(detail::executor_of(stream_)) {}

template <class MutableBuffers, class Token>
auto AsioStream::async_read_some(const MutableBuffers& buffers, Token&& token) {
  return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
      [stream = stream_](auto handler, const MutableBuffers& into) {
        std::span<char> room;
        const auto end = asio::buffer_sequence_end(into);
        for (auto part = asio::buffer_sequence_begin(into); part != end && room.empty(); ++part) {
          const asio::mutable_buffer buffer(*part);
          room = std::span<char>(static_cast<char*>(buffer.data()), buffer.size());
        }
        detail::wait_for(stream.read_into(room, Partial::yes), std::move(handler),
                         detail::ReadResult());
      },
      token, buffers);
}

template <class ConstBuffers, class Token>
auto AsioStream::async_write_some(const ConstBuffers& buffers, Token&& token) {
  return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
      [stream = stream_](auto handler, const ConstBuffers& from) {
        constexpr std::size_t most = 65536;
        std::string data;
        data.reserve(std::min(most, asio::buffer_size(from)));
        const auto end = asio::buffer_sequence_end(from);
        for (auto part = asio::buffer_sequence_begin(from); part != end && data.size() < most;
             ++part) {
          const asio::const_buffer buffer(*part);
          data.append(static_cast<const char*>(buffer.data()),
                      std::min(buffer.size(), most - data.size()));
        }
        const std::size_t size = data.size();
        detail::wait_for(stream.write(std::move(data)), std::move(handler),
                         detail::WriteResult(size));
      },
      token, buffers);
}

}  // namespace tornado
