// SPDX-License-Identifier: Apache-2.0
#include "regex_scanner.hpp"

#include <fmt/format.h>

#include <utility>

namespace tornado::detail {
namespace {

ByteSet bytes_of(bool (*test)(char)) {
  ByteSet result;
  for (int i = 0; i < 128; ++i) result[static_cast<std::size_t>(i)] = test(static_cast<char>(i));
  return result;
}

/// The classes that both can be in brackets and outside.
std::optional<ByteSet> category(char letter) {
  switch (letter) {
    case 'd':
      return bytes_of(is_digit);
    case 'D':
      return ~bytes_of(is_digit);
    case 's':
      return bytes_of(is_space);
    case 'S':
      return ~bytes_of(is_space);
    case 'w':
      return bytes_of(is_word);
    case 'W':
      return ~bytes_of(is_word);
    default:
      return std::nullopt;
  }
}

std::optional<char> control(char letter) {
  constexpr std::string_view letters = "abfnrtv";
  constexpr std::string_view codes = "\a\b\f\n\r\t\v";
  const std::size_t found = letters.find(letter);
  return found == letters.npos ? std::nullopt : std::optional(codes[found]);
}

/// `\q` and what belongs to it; the token was taken. For both sides of a bracket.
RegexEscape read_common_escape(RegexScanner& in, std::string_view token) {
  const std::size_t begin = in.tell() - token.size();
  const char c = token[1];
  if (const auto bytes = category(c)) return {{}, bytes};
  if (c == 'x') {
    const std::string_view digits = in.get_while(is_hex, 2);
    if (digits.size() != 2) in.fail("incomplete escape \\x", begin);
    return {static_cast<unsigned char>(std::stoi(std::string(digits), nullptr, 16)), {}};
  }
  if (const auto code = control(c)) return {static_cast<unsigned char>(*code), {}};
  if (is_letter(c)) in.fail(fmt::format("bad escape {}", token), begin);
  return {static_cast<unsigned char>(c), {}};
}

unsigned char octal(const RegexScanner& in, const std::string& digits, std::size_t begin) {
  const int value = std::stoi(digits, nullptr, 8);
  if (value > 0377) in.fail(fmt::format("octal escape \\{} above \\377", digits), begin);
  return static_cast<unsigned char>(value);
}

RegexEscape read_class_escape(RegexScanner& in, std::string_view token) {
  const std::size_t begin = in.tell() - token.size();
  const char c = token[1];
  if (is_octal(c)) {
    return {octal(in, c + std::string(in.get_while(is_octal, 2)), begin), {}};
  }
  if (is_digit(c)) in.fail(fmt::format("bad escape {}", token), begin);
  return read_common_escape(in, token);
}

}  // namespace

RegexEscape read_regex_escape(RegexScanner& in, std::string_view token) {
  const std::size_t begin = in.tell() - token.size();
  if (!is_octal(token[1])) return read_common_escape(in, token);
  return {octal(in, std::string(token.substr(1)) + std::string(in.get_while(is_octal, 2)), begin),
          {}};
}

RegexClass read_regex_class(RegexScanner& in) {
  const std::size_t begin = in.tell() - 1;
  const auto get = [&] {
    if (in.next().empty()) in.fail("unterminated character set", begin);
    return in.get();
  };
  const auto get_member = [&](std::string_view token) -> RegexEscape {
    if (token.size() == 2) return read_class_escape(in, token);
    return {static_cast<unsigned char>(token[0]), {}};
  };
  const auto add = [](ByteSet& set, const RegexEscape& member) {
    if (member.byte) set.set(*member.byte);
    if (member.bytes) set |= *member.bytes;
  };
  ByteSet set;
  const bool negated = in.match('^');
  for (bool first = true;; first = false) {
    const std::size_t at = in.tell();
    const std::string_view token = get();
    if (token == "]" && !first) break;
    const RegexEscape from = get_member(token);
    if (!in.match('-')) {
      add(set, from);
      continue;
    }
    const std::string_view last = get();
    if (last == "]") {
      add(set, from);
      set.set('-');
      break;
    }
    const RegexEscape to = get_member(last);
    if (!from.byte || !to.byte || *to.byte < *from.byte) in.fail("bad character range", at);
    for (unsigned i = *from.byte; i <= *to.byte; ++i) set.set(i);
  }
  return {set, negated};
}

}  // namespace tornado::detail
