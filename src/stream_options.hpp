// SPDX-License-Identifier: Apache-2.0
//
// The options of streams. Those made one after the other, as by a server, mostly share theirs.
#pragma once

#include "tornado/detail/state.hpp"
#include "tornado/iostream.hpp"

#include <cstdint>

namespace tornado::detail {

class StreamOptions {
 public:
  explicit StreamOptions(const IOStreamOptions& options) : values(options) {}

  void add_ref() noexcept { ++refs_; }
  void release() noexcept {
    if (--refs_ == 0) delete this;
  }

  const IOStreamOptions values;

 private:
  ~StreamOptions() = default;
  std::uint32_t refs_ = 1;
};

}  // namespace tornado::detail
