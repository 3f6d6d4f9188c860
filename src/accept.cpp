// SPDX-License-Identifier: Apache-2.0
//
// netutil::add_accept_handler: apart from netutil.cpp, which needs no loop.
#include "loop_core.hpp"
#include "tornado/log.hpp"
#include "tornado/netutil.hpp"

#include <chrono>
#include <memory>
#include <system_error>
#include <utility>

namespace tornado::netutil {
namespace {

constexpr int accepts_per_event = 128;
constexpr std::chrono::milliseconds pause{100};

bool out_of_resources(const std::error_code& error) {
  return error == std::errc::too_many_files_open ||
         error == std::errc::too_many_files_open_in_system ||
         error == std::errc::not_enough_memory || error == std::errc::no_buffer_space;
}

class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  Acceptor(Socket& socket, std::function<void(Socket, Address)> callback)
      : loop_(tornado::detail::LoopCore::current().shared_from_this()),
        socket_(socket),
        callback_(std::move(callback)) {}

  void start() {
    loop_->poll_set().add(
        socket_.native_handle(),
        [self = shared_from_this()](native_handle_type, int) { self->accept_some(); },
        IOLoop::READ);
    listening_ = true;
  }
  void stop() noexcept {
    stopped_ = true;
    if (!loop_->closed()) loop_->owner().remove_timeout(retry_);
    pause_accepting();
  }

 private:
  void pause_accepting() noexcept {
    if (!std::exchange(listening_, false)) return;
    if (auto* set = loop_->poll_set_or_null()) set->remove(socket_.native_handle());
  }

  void accept_some() {
    for (int i = 0; i < accepts_per_event && !stopped_; ++i) {
      try {
        auto connection = socket_.accept();
        if (!connection) return;
        short_of_resources_ = false;
        try {
          callback_(std::move(connection->first), std::move(connection->second));
        } catch (...) {
          log::log_exception(log::app_log, "Error in connection callback",
                             std::current_exception());
        }
      } catch (const std::system_error& error) {
        on_error(error);
        return;
      }
    }
  }

  // The socket stays readable: without a pause the loop would spin.
  void on_error(const std::system_error& error) {
    const bool known = out_of_resources(error.code()) && std::exchange(short_of_resources_, true);
    if (!known) {
      log::gen_log.error("{}; trying again in {} ms", error.what(), pause.count());
    }
    pause_accepting();
    retry_ = loop_->owner().call_later(pause, [self = shared_from_this()] {
      if (!self->stopped_) self->start();
    });
  }

  std::shared_ptr<tornado::detail::LoopCore> loop_;
  Socket& socket_;
  std::function<void(Socket, Address)> callback_;
  Timeout retry_;
  bool listening_ = false;
  bool stopped_ = false;
  bool short_of_resources_ = false;
};

}  // namespace

std::function<void()> add_accept_handler(Socket& socket,
                                         std::function<void(Socket, Address)> callback) {
  auto acceptor = std::make_shared<Acceptor>(socket, std::move(callback));
  acceptor->start();
  return [acceptor] { acceptor->stop(); };
}

}  // namespace tornado::netutil
