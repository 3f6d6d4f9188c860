// SPDX-License-Identifier: Apache-2.0
//
// What a Regex is compiled to, and the search for it in bytes that come in pieces.
//
// It is in regex_pcre2.cpp, or in regex_none.cpp when the library is built without PCRE2.
#pragma once

#include "tornado/regex.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tornado::detail {

struct RegexCode {
  explicit RegexCode(std::string text) : pattern(std::move(text)) {}
  RegexCode(const RegexCode&) = delete;
  RegexCode& operator=(const RegexCode&) = delete;
  ~RegexCode();

  const std::string pattern;
  std::string translated;  // to PCRE2's syntax
  void* compiled = nullptr;
};

/// \throws std::invalid_argument, std::system_error  as Regex.
std::shared_ptr<const RegexCode> compile_regex(std::string_view pattern);

/// One search, over what there is so far: each time more has come it is asked again, and gives what
/// a search from the beginning would. It begins where the last one has left off.
///
/// What it may cost is limited, so that no input, however it comes, keeps the loop from the others.
/// The unit is an item of the pattern tried, or 16 bytes passed over: some 15 ns. A search may cost
/// `burst` and 4 for each byte that is there. What it takes of that comes back by 4 for each new
/// byte, and at each search by 1000 and 2 for each byte: looking at all of them again is not what
/// is refused.
class TORNADO_EXPORT RegexSearch {  // for the tests
 public:
  static constexpr std::size_t not_yet = static_cast<std::size_t>(-1);
  /// It would cost too much to find out.
  static constexpr std::size_t limit = static_cast<std::size_t>(-2);
  static constexpr std::uint64_t burst = 1'000'000;

  explicit RegexSearch(const Regex& regex) noexcept : code_(regex.code_) {}

  /// \param available  all bytes, those of the last call first. In none nothing is found, not even
  ///                   what matches nothing, as in Tornado.
  /// \returns  where the match ends, `not_yet` or `limit`.
  std::size_t find_end(std::string_view available);

  const std::string& pattern() const noexcept { return code_->pattern; }
  /// It has come to the limit.
  bool gave_up() const noexcept { return gave_up_; }
  /// In no bytes before this a match begins.
  std::size_t restart() const noexcept { return from_; }

 private:
  std::shared_ptr<const RegexCode> code_;
  std::size_t from_ = 0;
  std::size_t seen_ = 0;
  std::uint64_t pool_ = burst;
  bool gave_up_ = false;
};

}  // namespace tornado::detail
