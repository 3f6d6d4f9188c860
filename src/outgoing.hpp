// SPDX-License-Identifier: Apache-2.0
//
// What a stream has yet to send, and who waits for that. A stream has one while there is something.
#pragma once

#include "owned_file.hpp"
#include "tornado/detail/state.hpp"
#include "write_buffer.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tornado::detail {

struct Outgoing {
  // Done when so many bytes of the stream were sent.
  struct Write {
    std::uint64_t end;
    Ref<StateBase> state;
    bool of_file;

    /// Not of a file, and nobody can be told when it is done.
    bool unwatched() const noexcept {
      return !of_file && state->unique() && state->waiters.empty() && !state->done();
    }
  };
  // Sent when so many bytes of the stream were: of a file, from an offset on.
  struct FilePart {
    std::uint64_t begin;
    std::uint64_t offset;
    std::uint64_t length;
    OwnedFile file;
  };

  /// Nothing is to be sent, and nobody waits.
  bool empty() const noexcept {
    return unsent.empty() && files.empty() && writes.empty() && drains.empty();
  }

  WriteBuffer unsent;
  std::vector<FilePart> files;  // of which `unsent` has nothing
  std::vector<Write> writes;
  std::size_t writes_done = 0;  // of these
  std::vector<Ref<State<void>>> drains;
};

}  // namespace tornado::detail
