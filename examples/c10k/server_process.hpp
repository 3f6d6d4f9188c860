// SPDX-License-Identifier: Apache-2.0
//
// The server, as a process of its own.
#pragma once

#include <tornado/concurrent.hpp>
#include <tornado/iostream.hpp>
#include <tornado/netutil.hpp>

#include <cstddef>
#include <optional>
#include <string>

#include <sys/types.h>

namespace c10k {

/// A server that runs as long as this object, or this process, whichever ends first.
class ServerProcess {
 public:
  /// Starts `path --port 0`.
  ///
  /// \throws std::system_error  if that cannot be.
  explicit ServerProcess(std::string path);

  /// Ends the server, by force if it takes too long.
  ~ServerProcess();

  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  /// Done when the server listens, with its address.
  ///
  /// \par Fails with
  ///   `std::runtime_error` when it ends instead, or says something else, or nothing at all.
  tornado::Future<tornado::Address> address();

  /// Bytes of memory that it occupies now; none where the system does not tell, or it has ended.
  std::optional<std::size_t> resident_memory() const;

  /// Whether it still runs.
  bool running();

 private:
  std::string path_;
  tornado::IOStream output_;
  pid_t pid_ = 0;  // 0 once it has ended
};

}  // namespace c10k
