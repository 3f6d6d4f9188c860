// SPDX-License-Identifier: Apache-2.0
//
// tornado/regex.hpp: the regular expressions of IOStream::read_until_regex.
//
// A Regex, and a copy of it, may be used from any thread.
#pragma once

#include "tornado/detail/export.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace tornado {

namespace detail {
class RegexSearch;
struct RegexCode;
}  // namespace detail

/// A compiled regular expression over bytes, in Python's syntax. Python: a `bytes` pattern and what
/// `re.compile` makes of it.
///
///     std::string headers = co_await stream.read_until_regex("\r?\n\r?\n");
///
///     const Regex line("(?i)\\A(GET|HEAD) [^ ]+ HTTP/1\\.[01]\r\n");  // kept, for many reads
///     std::string first = co_await stream.read_until_regex(line);
///
/// The syntax is that of Python 3.11 and later; what is an error there is one here. It matches
/// bytes: `\d`, `\s`, `\w`, `\b` and `(?i)` know ASCII only. docs/from-python.md lists what
/// differs: flag `L` is refused, a repetition may count to 65535, groups may nest 200 deep. PCRE2
/// does the matching.
///
/// A handle: copies share the compiled expression. The last 128 different ones that a thread made
/// are remembered, as Python does, so that a literal in a loop is compiled once; looking one up
/// costs about as much as hashing its text.
class TORNADO_EXPORT Regex {
 public:
  /// \param pattern  ends at its first NUL; one that contains NUL is given as std::string_view, or
  ///                 has `\0` instead.
  /// \throws std::invalid_argument  from here on: when `pattern` is wrong, or too large; it says
  ///                                what is wrong, and at which byte of which pattern.
  /// \throws std::system_error      `std::errc::not_supported`, when the library was built without
  ///                                PCRE2 (CMake option TORNADO_WITH_PCRE2).
  Regex(const char* pattern) : Regex(std::string_view(pattern)) {}
  Regex(const std::string& pattern) : Regex(std::string_view(pattern)) {}
  Regex(std::string_view pattern);

  // No moves: a Regex is never empty.
  Regex(const Regex& other) noexcept;
  Regex& operator=(const Regex& other) noexcept;
  ~Regex();

  /// What it was made from.
  const std::string& pattern() const noexcept;

 private:
  friend detail::RegexSearch;
  std::shared_ptr<const detail::RegexCode> code_;
};

}  // namespace tornado
