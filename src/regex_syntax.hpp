// SPDX-License-Identifier: Apache-2.0
//
// Python's regular expressions in PCRE2's syntax.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tornado::detail {

/// What is wrong with a pattern, and at which of its bytes.
struct RegexSyntaxError : std::runtime_error {
  RegexSyntaxError(const std::string& message, std::size_t at)
      : std::runtime_error(message), offset(at) {}
  std::size_t offset;
};

/// Writes a `bytes` pattern of Python 3.11 as PCRE2 understands it with PCRE2_ALT_CIRCUMFLEX,
/// PCRE2_DOTALL and PCRE2_MULTILINE. Groups keep their numbers and lose their names.
///
/// \throws RegexSyntaxError
std::string translate_regex(std::string_view pattern);

}  // namespace tornado::detail
