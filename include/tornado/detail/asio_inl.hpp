// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/asio_inl.hpp: the template bodies of tornado/asio.hpp, apart from it for the
// reader's sake.
#pragma once

#include "tornado/asio.hpp"

#include <asio/error.hpp>

#include <system_error>

namespace tornado::detail {

/// Asio of 1.22 has system errors in a category of its own.
inline std::error_code translated(const std::error_code& error) {
  if (error.category() == asio::error::get_system_category()) {
    return {error.value(), std::system_category()};
  }
  return error;
}

}  // namespace tornado::detail
