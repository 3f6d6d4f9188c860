// SPDX-License-Identifier: Apache-2.0
//
// What was written to a stream and not yet sent: small pieces together, large ones as they came.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tornado::detail {

class WriteBuffer {
 public:
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

  void append(std::string_view data) {
    if (chunks_.empty() || chunks_.back().size() + data.size() > together) {
      chunks_.emplace_back(data);
    } else {
      chunks_.back() += data;
    }
    size_ += data.size();
  }
  void append(std::string&& data) {
    if (data.size() < worth_keeping) return append(std::string_view(data));
    if (size_ == 0) chunks_.clear();
    size_ += data.size();
    chunks_.push_back(std::move(data));
  }

  /// All of it, if that is one piece; else nothing.
  std::string_view single() const noexcept {
    if (chunks_.size() != first_ + 1) return {};
    return std::string_view(chunks_[first_]).substr(offset_);
  }
  /// Views of the first bytes: as many as fit, and no more than `most` bytes.
  std::span<std::string_view> gather(std::span<std::string_view> views,
                                     std::uint64_t most) const noexcept {
    std::size_t count = 0;
    std::size_t offset = offset_;
    for (std::size_t i = first_; i < chunks_.size() && count < views.size() && most > 0; ++i) {
      const auto view = std::string_view(chunks_[i]).substr(std::exchange(offset, 0));
      views[count] = view.substr(0, most);
      most -= views[count++].size();
    }
    return views.first(count);
  }
  /// Drops the first `bytes`. `recycle` is given each string that was sent.
  template <class F>
  void consume(std::size_t bytes, F recycle) {
    size_ -= bytes;
    bytes += offset_;
    while (first_ < chunks_.size() && bytes >= chunks_[first_].size()) {
      bytes -= chunks_[first_].size();
      if (chunks_[first_].capacity() > kept) recycle(std::exchange(chunks_[first_], {}));
      ++first_;
    }
    offset_ = bytes;
    if (size_ == 0) {
      // Small pieces find the memory again.
      chunks_.resize(std::min<std::size_t>(chunks_.size(), 1));
      if (!chunks_.empty()) chunks_[0].clear();
      first_ = offset_ = 0;
    } else if (first_ > 64 && first_ > chunks_.size() / 2) {
      chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(first_));
      first_ = 0;
    }
  }

 private:
  static constexpr std::size_t together = 16 * 1024;      // small pieces up to this
  static constexpr std::size_t worth_keeping = 2 * 1024;  // an owned string from this on
  static constexpr std::size_t kept = 4 * 1024;           // capacity for small pieces

  std::vector<std::string> chunks_;
  std::size_t first_ = 0;   // chunk with the first unsent byte
  std::size_t offset_ = 0;  // and its place there
  std::size_t size_ = 0;
};

}  // namespace tornado::detail
