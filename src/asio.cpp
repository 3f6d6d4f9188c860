// SPDX-License-Identifier: Apache-2.0
#include "tornado/asio.hpp"

#include "loop_core.hpp"
#include "stream_core.hpp"

#include <optional>
#include <stdexcept>
#include <utility>

using tornado::IOLoop;
using tornado::detail::LoopCore;

std::unique_ptr<IOLoop> tornado::make_ioloop(asio::io_context& context,
                                             IOLoop::MakeCurrent make_current) {
  return LoopCore::make_loop({&context, std::nullopt}, make_current);
}

std::unique_ptr<IOLoop> tornado::make_ioloop(
    const asio::strand<asio::io_context::executor_type>& strand, IOLoop::MakeCurrent make_current) {
  return LoopCore::make_loop({&strand.get_inner_executor().context(), strand}, make_current);
}

asio::io_context& tornado::get_io_context(IOLoop& loop) { return LoopCore::of(loop).io(); }

asio::any_io_executor tornado::get_executor(IOLoop& loop) {
  return tornado::detail::executor_of(LoopCore::of(loop));
}

namespace tornado::detail {

const char TORNADO_ASIO_NAME = 0;

asio::any_io_executor executor_of(LoopCore& core) {
  if (core.closed()) throw std::logic_error("the loop has been closed");
  if (core.strand()) return *core.strand();
  return core.io().get_executor();
}

asio::any_io_executor executor_of(const IOStream& stream) {
  return executor_of(StreamCore::share(stream)->loop());
}

namespace {

/// Tells, in the loop, or when that closes, that a Future will not be completed.
class BrokenPromise {
 public:
  explicit BrokenPromise(Ref<StateBase> state) noexcept : state_(std::move(state)) {}
  BrokenPromise(BrokenPromise&&) noexcept = default;
  BrokenPromise& operator=(BrokenPromise&&) = delete;
  ~BrokenPromise() {
    if (state_) break_promise(*state_);
  }
  void operator()() noexcept {}

 private:
  Ref<StateBase> state_;
};

}  // namespace

PendingOperation::PendingOperation() : core(current_core()) {}
PendingOperation::~PendingOperation() = default;

void PendingOperation::complete(StateBase& state, Status status) noexcept {
  if (state.done()) return;
  if (core->closed()) {
    state.abandon();
    return;
  }
  const LoopCore::Turn turn(*core);
  state.complete(status);
}

void PendingOperation::drop(StateBase* state) noexcept {
  state->set_origin(nullptr);
  Ref<StateBase> ref(state);
  if (core->closed()) {
    if (!state->done()) state->abandon();
  } else {
    core->post(*make_job(BrokenPromise(std::move(ref))));
  }
}

std::shared_ptr<LoopCore> current_core() { return LoopCore::current().shared_from_this(); }
bool context_ends(const LoopCore& core) noexcept { return core.context_ends(); }

DetachedSocket::DetachedSocket(Socket the_socket, std::string the_bytes)
    : socket(std::move(the_socket)), received(std::move(the_bytes)) {}
DetachedSocket::DetachedSocket(DetachedSocket&&) noexcept = default;
DetachedSocket& DetachedSocket::operator=(DetachedSocket&&) noexcept = default;
DetachedSocket::~DetachedSocket() = default;

void require_releasable(const IOStream& stream) { StreamCore::share(stream)->require_releasable(); }

Future<DetachedSocket> detach_socket(IOStream stream) {
  const Ref<StreamCore> core = StreamCore::share(stream);
  for (;;) {
    core->require_releasable();
    if (stream.closed()) throw StreamClosedError(stream.error());
    if (!stream.writing()) break;
    co_await stream.write("");  // behind all that was written
  }
  std::string received;
  Socket socket = core->detach(received);
  co_return DetachedSocket(std::move(socket), std::move(received));
}

}  // namespace tornado::detail
