// SPDX-License-Identifier: Apache-2.0
//
// Of a stream: sending files.
#include "stream_core.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

namespace tornado::detail {
namespace {

// So much of a file is sent before the others get their turn: a fast reader might never block it.
constexpr std::uint64_t most_per_turn = std::uint64_t{4} * 1024 * 1024;
// And so much at a time is read, for a backend that does not send files.
constexpr std::size_t read_size = std::size_t{64} * 1024;

std::exception_ptr file_error(int error, const std::string& what) {
  return std::make_exception_ptr(
      std::system_error(error, std::system_category(), "IOStream::write_file: " + what));
}

}  // namespace

Future<std::uint64_t> StreamCore::write_file(OwnedFile file, std::uint64_t offset,
                                             std::optional<std::uint64_t> length) {
  require_writable("write_file");
  if (closed_) return failed<std::uint64_t>(closed_error(), true);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) {
    return failed<std::uint64_t>(file_error(errno, "the file"), false);
  }
  if (!S_ISREG(status.st_mode)) {
    return failed<std::uint64_t>(file_error(EINVAL, "not a regular file"), false);
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (offset > size || length.value_or(0) > size - offset) {
    return failed<std::uint64_t>(
        file_error(EINVAL, fmt::format("{} bytes from {} on, of a file of {}", length.value_or(0),
                                       offset, size)),
        false);
  }
  const std::uint64_t count = length.value_or(size - offset);
  Future<std::uint64_t> future;
  if (count > 0) outgoing().files.push_back({written_, offset, count, std::move(file)});
  written_ += count;
  State<std::uint64_t>* state = Access::state(future);
  state->emplace(count);
  add_write(*state, true);
  return future;
}

/// As send_once, for the part of a file that is next.
bool StreamCore::send_file_part() {
  const Outgoing::FilePart& part = outgoing_->files.front();
  const std::uint64_t done = sent_ - part.begin;
  const auto size = static_cast<std::size_t>(std::min(part.length - done, most_per_turn));
  StreamBackend::Result result = backend_->write_file(part.file.get(), part.offset + done, size);
  if (result.error == std::errc::operation_not_supported) {
    result = copy_to_backend(part.file, part.offset + done, size);
  }
  if (!on_sent(result)) return false;
  if (result.bytes == 0) {
    on_write_error(StreamErrc::file_truncated);
    return false;
  }
  if (sent_ == part.begin + part.length) {
    outgoing_->files.erase(outgoing_->files.begin());
    return true;
  }
  wait_to_write();
  return false;
}

StreamBackend::Result StreamCore::copy_to_backend(const OwnedFile& file, std::uint64_t offset,
                                                  std::size_t size) {
  size = std::min(size, read_size);
  char* buffer = loop_->chunk(size);
  ssize_t count;
  do {
    count = ::pread(file.get(), buffer, size, static_cast<off_t>(offset));
  } while (count < 0 && errno == EINTR);
  if (count < 0) return {0, {errno, std::system_category()}};
  if (count == 0) return {0};
  const std::string_view bytes(buffer, static_cast<std::size_t>(count));
  return backend_->write_to_fd({&bytes, 1});
}

}  // namespace tornado::detail
