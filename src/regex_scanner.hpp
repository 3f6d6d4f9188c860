// SPDX-License-Identifier: Apache-2.0
//
// The small parts of Python's regular expressions: tokens, escapes, and what stands in brackets.
#pragma once

#include "regex_syntax.hpp"

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tornado::detail {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_octal(char c) { return c >= '0' && c <= '7'; }
inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
inline bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
inline bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
inline bool is_word(char c) { return is_letter(c) || is_digit(c) || c == '_'; }

inline bool is_name(std::string_view name) {
  return !name.empty() && !is_digit(name[0]) && std::all_of(name.begin(), name.end(), is_word);
}

using ByteSet = std::bitset<256>;

/// What an escape means: one byte, or any of several.
struct RegexEscape {
  std::optional<unsigned char> byte;
  std::optional<ByteSet> bytes;
};

/// What stands in brackets.
struct RegexClass {
  ByteSet members;
  bool negated;
};

/// Reads a pattern by tokens: single bytes, or a backslash and what follows it.
class RegexScanner {
 public:
  explicit RegexScanner(std::string_view pattern) : pattern_(pattern) { seek(0); }

  /// The next token; empty at the end.
  std::string_view next() const noexcept { return next_; }
  bool next_is(char c) const noexcept { return next_.size() == 1 && next_[0] == c; }
  bool next_is(bool (*test)(char)) const noexcept { return next_.size() == 1 && test(next_[0]); }
  std::size_t tell() const noexcept { return at_; }
  std::string_view rest() const noexcept { return pattern_.substr(at_); }

  void seek(std::size_t at) {
    at_ = at;
    next_ = pattern_.substr(at, 1);
    if (next_ == "\\") {
      next_ = pattern_.substr(at, 2);
      if (next_.size() == 1) fail("bad escape (end of pattern)");
    }
  }
  std::string_view get() {
    const std::string_view token = next_;
    seek(at_ + token.size());
    return token;
  }
  bool match(char c) {
    if (!next_is(c)) return false;
    get();
    return true;
  }
  /// At most `most` bytes of the kind.
  std::string_view get_while(bool (*test)(char), std::size_t most) {
    const std::size_t begin = at_;
    while (at_ - begin < most && next_is(test)) get();
    return pattern_.substr(begin, at_ - begin);
  }
  /// What comes before `end`, which is passed over.
  std::string_view get_until(char end, std::string_view what) {
    const std::size_t begin = at_;
    while (!next_is(end)) {
      if (next_.empty()) fail("unterminated " + std::string(what));
      get();
    }
    const std::string_view result = pattern_.substr(begin, at_ - begin);
    if (result.empty()) fail("missing " + std::string(what));
    get();
    return result;
  }

  [[noreturn]] void fail(const std::string& message) const { fail(message, at_); }
  [[noreturn]] void fail(const std::string& message, std::size_t at) const {
    throw RegexSyntaxError(message, at);
  }

 private:
  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string_view next_;
};

/// `\q` and what belongs to it, outside of brackets; the token was taken. Not for references to
/// groups.
RegexEscape read_regex_escape(RegexScanner& in, std::string_view token);
/// The first bracket was taken.
RegexClass read_regex_class(RegexScanner& in);

}  // namespace tornado::detail
