// SPDX-License-Identifier: Apache-2.0
#include "tornado/stream_backend.hpp"

#include "stream_core.hpp"

#include <utility>

namespace tornado {

StreamBackend::~StreamBackend() = default;

std::error_code StreamBackend::connect(const Address&) noexcept {
  return std::make_error_code(std::errc::operation_not_supported);
}
std::error_code StreamBackend::get_fd_error() noexcept { return {}; }
std::error_code StreamBackend::shutdown_write() noexcept {
  return std::make_error_code(std::errc::operation_not_supported);
}
StreamBackend::Result StreamBackend::write_file(native_handle_type, std::uint64_t,
                                                std::size_t) noexcept {
  return {0, std::make_error_code(std::errc::operation_not_supported)};
}
native_handle_type StreamBackend::fileno() const noexcept { return Socket::invalid_handle; }
void StreamBackend::on_lower_ready(Interest, std::error_code) {}

StreamBackend::Ready::Ready(detail::StreamCore& core, StreamBackend* layer,
                            Interest interest) noexcept
    : core_(&core), layer_(layer), interest_(interest) {
  core.add_ref();
}
StreamBackend::Ready::Ready(Ready&& other) noexcept
    : core_(std::exchange(other.core_, nullptr)),
      layer_(other.layer_),
      interest_(other.interest_) {}
StreamBackend::Ready& StreamBackend::Ready::operator=(Ready&& other) noexcept {
  std::swap(core_, other.core_);
  std::swap(layer_, other.layer_);
  std::swap(interest_, other.interest_);
  return *this;
}
StreamBackend::Ready::~Ready() {
  if (core_ != nullptr) core_->release();
}
StreamBackend::Ready StreamBackend::Ready::for_layer(StreamBackend& layer,
                                                     Interest interest) const noexcept {
  return {*core_, &layer, interest};
}
void StreamBackend::Ready::operator()(std::error_code error) {
  const Ready self = std::move(*this);
  if (self.layer_ == nullptr) {
    self.core_->on_ready(self.interest_, error);
  } else if (!self.core_->closed()) {
    self.layer_->on_lower_ready(self.interest_, error);
  }
}

}  // namespace tornado
