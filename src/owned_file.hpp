// SPDX-License-Identifier: Apache-2.0
//
// A file's descriptor that is closed with the object.
#pragma once

#include <utility>

#include <unistd.h>

namespace tornado::detail {

class OwnedFile {
 public:
  /// \param descriptor  -1 for none.
  explicit OwnedFile(int descriptor) noexcept : descriptor_(descriptor) {}
  OwnedFile(OwnedFile&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  OwnedFile& operator=(OwnedFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~OwnedFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  int get() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace tornado::detail
