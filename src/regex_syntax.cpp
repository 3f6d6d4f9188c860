// SPDX-License-Identifier: Apache-2.0
#include "regex_syntax.hpp"

#include "regex_scanner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace tornado::detail {
namespace {

// PCRE2 counts no further.
constexpr std::uint64_t most_repeats = 65535;
// A parser that calls itself must stop somewhere.
constexpr int most_nested = 200;
constexpr std::uint64_t unlimited = std::uint64_t{1} << 62;

/// How many bytes something matches: 0 at least, `unlimited` at most.
struct Width {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
};

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  return a != 0 && b > unlimited / a ? unlimited : std::min(a * b, unlimited);
}
Width operator+(Width a, Width b) {
  return {std::min(a.least + b.least, unlimited), std::min(a.most + b.most, unlimited)};
}
Width either(Width a, Width b) { return {std::min(a.least, b.least), std::max(a.most, b.most)}; }

struct Flags {
  bool multiline = false;
  bool dotall = false;
  bool verbose = false;
};

/// The letters of `(?ims-x:`.
struct FlagLetters {
  std::string on;
  std::string off;
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    read_alternatives({}, 0);
    if (!in_.next().empty()) in_.fail("unbalanced parenthesis");
    for (const auto& [number, at] : conditions_) {
      if (number >= groups_.size()) in_.fail(fmt::format("invalid group reference {}", number), at);
    }
    return (ignore_case_ ? "(?i)" : "") + out_;
  }

 private:
  struct Group {
    std::optional<Width> width;  // none while it is open
  };
  // What stands before a quantifier.
  enum class Item { none, place, repeat, group, any, other };
  struct Sequence {
    Flags flags;
    int nested;
    bool first;  // of the pattern
    Width width{};
    Width last_width{};  // of the last item
    Item last = Item::none;
    std::size_t last_at = 0;  // where in what is written it begins
  };

  Width read_alternatives(Flags flags, int nested);
  Width read_sequence(Flags& flags, int nested, bool first);
  bool skip_verbose(char c);
  /// What was written is an item of this width.
  void add(Sequence& sequence, Width width, Item item = Item::other) {
    sequence.width = sequence.width + sequence.last_width;
    sequence.last_width = width;
    sequence.last = item;
  }

  void put_byte(unsigned char byte) {
    if (byte < 128 && is_word(static_cast<char>(byte))) {
      out_ += static_cast<char>(byte);
    } else {
      fmt::format_to(std::back_inserter(out_), "\\x{:02x}", byte);
    }
  }
  void put_class(const RegexClass& members);

  void read_escape(Sequence& sequence, std::string_view token);
  bool read_place(std::string_view token);
  void read_quantifier(Sequence& sequence, char c);
  bool read_braces(std::uint64_t& least, std::uint64_t& most);
  std::uint64_t count(std::string_view digits) const;

  void read_group(Sequence& sequence);
  void read_named(Sequence& sequence, std::size_t begin);
  void skip_comment(std::size_t begin);
  void read_lookahead(Sequence& sequence, char kind, std::size_t begin);
  void read_lookbehind(Sequence& sequence, std::size_t begin);
  void read_conditional(Sequence& sequence, std::size_t begin);
  void read_flags(Sequence& sequence, std::size_t begin);
  FlagLetters read_flag_letters();
  std::string read_flag_run(std::string_view ends, std::string_view allowed);
  void read_body(Sequence& sequence, std::string_view opening, const Flags& flags,
                 std::size_t begin);
  void read_capture(Sequence& sequence, std::string_view name, std::size_t begin);
  void put_reference(Sequence& sequence, std::size_t number, std::size_t at);
  void check_behind(std::size_t number, std::size_t at) const;
  void close(std::size_t begin) {
    if (!in_.match(')')) in_.fail("missing ), unterminated subpattern", begin);
    out_ += ')';
  }

  RegexScanner in_;
  std::string out_;
  bool ignore_case_ = false;
  std::vector<Group> groups_ =
      std::vector<Group>(1);  // the first is the whole, and never referred to
  std::map<std::string, std::size_t, std::less<>> names_;
  std::map<std::size_t, std::size_t> conditions_;  // groups asked for by number, and where
  std::optional<std::size_t> behind_;  // in a lookbehind: groups that were there before it
};

Width Translator::read_alternatives(Flags flags, int nested) {
  if (nested > most_nested) in_.fail(fmt::format("groups nest more than {} deep", most_nested));
  Width width = read_sequence(flags, nested, nested == 0);
  while (in_.match('|')) {
    out_ += '|';
    width = either(width, read_sequence(flags, nested, false));
  }
  return width;
}

/// \param flags  those of the whole pattern may be found in it.
Width Translator::read_sequence(Flags& flags, int nested, bool first) {
  Sequence sequence{flags, nested, first};
  while (!in_.next().empty() && !in_.next_is('|') && !in_.next_is(')')) {
    const std::string_view token = in_.get();
    const char c = token[0];
    if (sequence.flags.verbose && token.size() == 1 && skip_verbose(c)) continue;
    if (token.size() == 2) {
      read_escape(sequence, token);
    } else if (c == '[') {
      put_class(read_regex_class(in_));
      add(sequence, {1, 1});
    } else if (c == '*' || c == '+' || c == '?' || c == '{') {
      read_quantifier(sequence, c);
    } else if (c == '.') {
      sequence.last_at = out_.size();
      out_ += sequence.flags.dotall ? "." : "\\N";
      add(sequence, {1, 1}, sequence.flags.dotall ? Item::any : Item::other);
    } else if (c == '(') {
      read_group(sequence);
    } else if (c == '^') {
      out_ += sequence.flags.multiline ? "^" : "\\A";
      add(sequence, {}, Item::place);
    } else if (c == '$') {
      // PCRE2's own is that of several lines, by the option.
      out_ += sequence.flags.multiline ? "$" : "(?=\\n?\\z)";
      add(sequence, {}, Item::place);
    } else {
      put_byte(static_cast<unsigned char>(c));
      add(sequence, {1, 1});
    }
  }
  flags = sequence.flags;
  return sequence.width + sequence.last_width;
}

bool Translator::skip_verbose(char c) {
  if (c != '#') return is_space(c);
  while (!in_.next().empty() && in_.get() != "\n") {
  }
  return true;
}

void Translator::put_class(const RegexClass& members) {
  const ByteSet& set = members.members;
  // Written as it was: what is not `a` is not `A` either when case is ignored.
  out_ += members.negated ? "[^" : "[";
  for (unsigned begin = 0; begin < set.size();) {
    unsigned end = begin;
    while (end < set.size() && set[end]) ++end;
    if (end > begin) put_byte(static_cast<unsigned char>(begin));
    if (end > begin + 1) {
      out_ += '-';
      put_byte(static_cast<unsigned char>(end - 1));
    }
    begin = std::max(end, begin + 1);
  }
  out_ += ']';
}

// ---- escapes

bool Translator::read_place(std::string_view token) {
  switch (token[1]) {
    case 'A':
    case 'b':
    case 'B':
      out_ += token;
      return true;
    case 'Z':
      out_ += "\\z";
      return true;
    default:
      return false;
  }
}

void Translator::read_escape(Sequence& sequence, std::string_view token) {
  const std::size_t begin = in_.tell() - token.size();
  const char c = token[1];
  if (read_place(token)) {
    add(sequence, {}, Item::place);
    return;
  }
  // Three octal digits are a byte, any other one or two the number of a group.
  const std::string_view next = in_.rest().substr(0, 2);
  const bool is_byte = is_octal(c) && next.size() == 2 && is_octal(next[0]) && is_octal(next[1]);
  if (is_digit(c) && c != '0' && !is_byte) {
    const std::string number = c + std::string(in_.get_while(is_digit, 1));
    put_reference(sequence, static_cast<std::size_t>(std::stoi(number)), begin);
    return;
  }
  const RegexEscape escape = read_regex_escape(in_, token);
  if (escape.byte) {
    put_byte(*escape.byte);
  } else {
    out_ += token;  // PCRE2's, without Unicode, mean the same
  }
  add(sequence, {1, 1});
}

void Translator::put_reference(Sequence& sequence, std::size_t number, std::size_t at) {
  if (number >= groups_.size()) in_.fail(fmt::format("invalid group reference {}", number), at);
  const auto& width = groups_[number].width;
  if (!width) in_.fail("cannot refer to an open group", at);
  check_behind(number, at);
  fmt::format_to(std::back_inserter(out_), "\\g{{{}}}", number);
  add(sequence, *width);
}

void Translator::check_behind(std::size_t number, std::size_t at) const {
  if (!behind_) return;
  if (number >= groups_.size() || !groups_[number].width) {
    in_.fail("cannot refer to an open group", at);
  }
  if (number >= *behind_) {
    in_.fail("cannot refer to a group of the same lookbehind", at);
  }
}

// ---- quantifiers

std::uint64_t Translator::count(std::string_view digits) const {
  std::uint64_t value = 0;
  for (const char digit : digits) {
    value = 10 * value + static_cast<std::uint64_t>(digit - '0');
    if (value > most_repeats) in_.fail(fmt::format("a number above {}", most_repeats));
  }
  return value;
}

/// `{least,most}` behind its first brace; false when it is none, and the brace itself is meant.
bool Translator::read_braces(std::uint64_t& least, std::uint64_t& most) {
  const std::size_t begin = in_.tell();
  if (in_.next_is('}')) return false;
  const std::string_view from = in_.get_while(is_digit, std::string_view::npos);
  const bool comma = in_.match(',');
  const std::string_view to = comma ? in_.get_while(is_digit, std::string_view::npos) : from;
  if (!in_.match('}')) {
    in_.seek(begin);
    return false;
  }
  least = count(from);
  most = to.empty() ? unlimited : count(to);
  if (most < least) in_.fail("min repeat greater than max repeat", begin);
  return true;
}

void Translator::read_quantifier(Sequence& sequence, char c) {
  const std::size_t begin = in_.tell() - 1;
  std::uint64_t least = c == '+' ? 1 : 0;
  std::uint64_t most = c == '?' ? 1 : unlimited;
  if (c == '{' && !read_braces(least, most)) {
    put_byte('{');
    add(sequence, {1, 1});
    return;
  }
  if (sequence.last == Item::none || sequence.last == Item::place) {
    in_.fail("nothing to repeat", begin);
  }
  if (sequence.last == Item::repeat) in_.fail("multiple repeat", begin);
  if (sequence.last == Item::group && in_.next_is('+')) {
    // In Python it is possessive of each time as well as of all.
    out_.insert(sequence.last_at, "(?>");
    out_ += ')';
  }
  // Of PCRE2's dot so many are not a partial match before all of them have come.
  if (sequence.last == Item::any && least > 1) out_.replace(sequence.last_at, 1, "[\\x00-\\xff]");
  if (c != '{') {
    out_ += c;
  } else if (most == unlimited) {
    fmt::format_to(std::back_inserter(out_), "{{{},}}", least);
  } else {
    fmt::format_to(std::back_inserter(out_), "{{{},{}}}", least, most);
  }
  if (in_.match('?')) {
    out_ += '?';
  } else if (in_.match('+')) {
    out_ += '+';
  }
  Width& width = sequence.last_width;
  width = {times(width.least, least), times(width.most, most)};
  sequence.last = Item::repeat;
}

// ---- groups

void Translator::read_group(Sequence& sequence) {
  const std::size_t begin = in_.tell() - 1;
  if (!in_.match('?')) {
    read_capture(sequence, {}, begin);
    return;
  }
  if (in_.next().empty()) in_.fail("unexpected end of pattern");
  const std::string_view kind = in_.next();
  switch (kind[0]) {
    case 'P':
      in_.get();
      read_named(sequence, begin);
      return;
    case ':':
    case '>':
      in_.get();
      read_body(sequence, kind[0] == ':' ? "(?:" : "(?>", sequence.flags, begin);
      return;
    case '#':
      skip_comment(begin);
      return;
    case '=':
    case '!':
      in_.get();
      read_lookahead(sequence, kind[0], begin);
      return;
    case '<':
      in_.get();
      read_lookbehind(sequence, begin);
      return;
    case '(':
      in_.get();
      read_conditional(sequence, begin);
      return;
    default:
      read_flags(sequence, begin);
  }
}

void Translator::read_body(Sequence& sequence, std::string_view opening, const Flags& flags,
                           std::size_t begin) {
  const std::size_t at = out_.size();
  out_ += opening;
  const Width width = read_alternatives(flags, sequence.nested + 1);
  close(begin);
  add(sequence, width, Item::group);
  sequence.last_at = at;
}

void Translator::read_capture(Sequence& sequence, std::string_view name, std::size_t begin) {
  const std::size_t number = groups_.size();
  if (!name.empty() && !names_.emplace(name, number).second) {
    in_.fail(fmt::format("redefinition of group name {}", name), begin);
  }
  groups_.emplace_back();
  read_body(sequence, "(", sequence.flags, begin);
  groups_[number].width = sequence.last_width;
}

void Translator::read_named(Sequence& sequence, std::size_t begin) {
  const bool definition = in_.match('<');
  if (!definition && !in_.match('=')) in_.fail("unknown extension ?P", begin);
  const std::size_t at = in_.tell();
  const std::string_view name = in_.get_until(definition ? '>' : ')', "group name");
  if (!is_name(name)) in_.fail("bad character in group name", at);
  if (definition) {
    read_capture(sequence, name, begin);
    return;
  }
  const auto found = names_.find(name);
  if (found == names_.end()) in_.fail(fmt::format("unknown group name {}", name), at);
  put_reference(sequence, found->second, at);
}

void Translator::skip_comment(std::size_t begin) {
  while (!in_.match(')')) {
    if (in_.next().empty()) in_.fail("missing ), unterminated comment", begin);
    in_.get();
  }
}

void Translator::read_lookahead(Sequence& sequence, char kind, std::size_t begin) {
  read_body(sequence, kind == '=' ? "(?=" : "(?!", sequence.flags, begin);
  sequence.last_width = {};
}

void Translator::read_lookbehind(Sequence& sequence, std::size_t begin) {
  if (!in_.next_is('=') && !in_.next_is('!')) in_.fail("unknown extension ?<", begin);
  const bool negative = in_.get() == "!";
  const auto outer = behind_;
  if (!behind_) behind_ = groups_.size();
  read_body(sequence, negative ? "(?<!" : "(?<=", sequence.flags, begin);
  behind_ = outer;
  if (sequence.last_width.least != sequence.last_width.most) {
    in_.fail("a lookbehind needs a fixed width", begin);
  }
  sequence.last_width = {};
}

void Translator::read_conditional(Sequence& sequence, std::size_t begin) {
  const std::size_t at = in_.tell();
  const std::string_view name = in_.get_until(')', "group name");
  std::size_t number = 0;
  if (is_name(name)) {
    const auto found = names_.find(name);
    if (found == names_.end()) in_.fail(fmt::format("unknown group name {}", name), at);
    number = found->second;
  } else if (std::all_of(name.begin(), name.end(), is_digit)) {
    number = static_cast<std::size_t>(count(name));
    if (number == 0) in_.fail("bad group number", at);
    conditions_.emplace(number, at);
  } else {
    in_.fail("bad character in group name", at);
  }
  check_behind(number, at);
  if (sequence.nested >= most_nested) in_.fail("groups nest too deep", begin);
  const std::size_t written = out_.size();
  fmt::format_to(std::back_inserter(out_), "(?({})", number);
  Flags flags = sequence.flags;
  Width width = read_sequence(flags, sequence.nested + 1, false);
  if (in_.match('|')) {
    out_ += '|';
    width = either(width, read_sequence(flags, sequence.nested + 1, false));
    if (in_.next_is('|')) in_.fail("conditional backref with more than two branches");
  } else {
    width.least = 0;
  }
  close(begin);
  add(sequence, width, Item::group);
  sequence.last_at = written;
}

std::string Translator::read_flag_run(std::string_view ends, std::string_view allowed) {
  std::string letters;
  while (ends.find(in_.next().empty() ? '\0' : in_.next()[0]) == ends.npos) {
    const std::string_view token = in_.next();
    if (token.empty()) in_.fail("unexpected end of pattern");
    if (token == "L") in_.fail("flag L is not supported");
    if (allowed.find(token) == allowed.npos) in_.fail(fmt::format("bad inline flag {}", token));
    letters += in_.get();
  }
  return letters;
}

FlagLetters Translator::read_flag_letters() {
  FlagLetters letters;
  letters.on = read_flag_run("-:)", "aimsx");
  if (letters.on.empty() && !in_.next_is('-')) in_.fail("unknown extension");
  if (!in_.match('-')) return letters;
  letters.off = read_flag_run(":", "imsx");
  if (letters.off.empty()) in_.fail("missing flag");
  if (letters.off.find_first_of(letters.on) != std::string::npos) {
    in_.fail("bad inline flags: flag turned on and off");
  }
  return letters;
}

void Translator::read_flags(Sequence& sequence, std::size_t begin) {
  const FlagLetters letters = read_flag_letters();
  const auto on = [&](char c) { return letters.on.find(c) != std::string::npos; };
  const auto off = [&](char c) { return letters.off.find(c) != std::string::npos; };
  Flags flags;
  flags.multiline = (sequence.flags.multiline || on('m')) && !off('m');
  flags.dotall = (sequence.flags.dotall || on('s')) && !off('s');
  flags.verbose = (sequence.flags.verbose || on('x')) && !off('x');
  if (in_.match(')')) {  // for the whole
    if (!sequence.first || sequence.last != Item::none) {
      in_.fail("global flags not at the start of the expression", begin);
    }
    sequence.flags = flags;
    ignore_case_ = ignore_case_ || on('i');
    return;
  }
  in_.get();  // the colon
  read_body(sequence, on('i') ? "(?i:" : off('i') ? "(?-i:" : "(?:", flags, begin);
}

}  // namespace

std::string translate_regex(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace tornado::detail
