// SPDX-License-Identifier: Apache-2.0
//
// Regex against Python's re, by a table that regex_python.py writes; and the search that goes on
// when more bytes come against one that begins anew.
#include "tornado/regex.hpp"

#include "loop_support.hpp"
#include "regex_search.hpp"
#include "support.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace tornado;
using detail::RegexSearch;

namespace {

std::string unescape(std::string_view text) {
  if (text == "\\e") return {};
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      result += static_cast<char>(std::stoi(std::string(text.substr(i + 2, 2)), nullptr, 16));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == '\t') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

std::optional<Regex> compile(std::string_view pattern) {
  try {
    return Regex(pattern);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

std::size_t search(const Regex& regex, std::string_view subject) {
  return RegexSearch(regex).find_end(subject);
}

std::string error_of(std::string_view pattern) {
  try {
    const Regex regex(pattern);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "none";
}

/// Patterns at random, small enough to match often, with all that looks around or at the ends.
class Grammar {
 public:
  std::string pattern() {
    // First those of which a change of what was the end makes a match, or more of it a possible
    // one.
    if (special_ < 200) {
      static const char* const patterns[] = {"(?!a$)a\n.",    "(?!a$)a\n",   "(?s).{2}",
                                             "(?s)a.{2,3}?b", "(?<!a\\Z)\n", "(?!\\n$)[^a]+b",
                                             "(?!$)\n."};
      return patterns[special_++ % std::size(patterns)];
    }
    groups_ = 0;
    return pick({"", "", "", "(?m)", "(?i)", "(?s)"}) + alternatives(2);
  }
  std::string subject() {
    std::string text(1 + random_() % 14, ' ');
    for (char& c : text) c = "aab\nA \r"[random_() % 7];
    return text;
  }
  std::size_t number(std::size_t below) { return random_() % below; }

 private:
  std::string pick(std::vector<const char*> from) { return from[random_() % from.size()]; }

  std::string alternatives(int depth) {
    std::string text = sequence(depth);
    while (random_() % 4 == 0) text += "|" + sequence(depth);
    return text;
  }
  std::string sequence(int depth) {
    std::string text;
    for (std::size_t i = 1 + random_() % 4; i > 0; --i) text += item(depth);
    return text;
  }
  std::string item(int depth) {
    if (random_() % 7 == 0) return pick({"^", "$", "\\b", "\\B", "\\A", "\\Z"});
    std::string atom = this->atom(depth);
    if (random_() % 3 == 0) {
      atom += pick({"*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}"});
      atom += pick({"", "", "?", "+"});
    }
    return atom;
  }
  std::string atom(int depth) {
    const std::size_t choice = random_() % 20;
    if (depth == 0 || choice < 12) {
      return pick({"a", "a", "b", "A", "\\n", "\\r", ".", "\\w", "\\s", "[^a]", "[ab]", "[^\\n]"});
    }
    if (choice < 13 && groups_ > 0) return "\\" + std::to_string(1 + random_() % groups_);
    if (choice < 15) {
      const std::string body = alternatives(depth - 1);
      ++groups_;  // wrong when there are groups in it: then the pattern is refused, or another
      return "(" + body + ")";
    }
    if (choice < 17) {
      return pick({"(?:", "(?>", "(?=", "(?!", "(?i:", "(?m:"}) + alternatives(depth - 1) + ")";
    }
    std::string behind = pick({"(?<=", "(?<!"});
    for (std::size_t i = 1 + random_() % 2; i > 0; --i) {
      behind += pick({"a", "b", ".", "\\n", "[^a]", "\\ba", "a$", "^a", "a\\b", ".(?!b)",
                      "(?=a\\n?).", "a\\Z"});
    }
    return behind + ")";
  }

  std::mt19937 random_{11};
  std::size_t groups_ = 0;
  std::size_t special_ = 0;
};

}  // namespace

TEST_SUITE("regex") {
  TEST_CASE("Regex: matches what Python's re does, and refuses what it refuses") {
    std::ifstream file(TORNADO_REGEX_TABLE);
    REQUIRE(file);
    int patterns = 0;
    int searches = 0;
    for (std::string line; std::getline(file, line); ++patterns) {
      const auto fields = split(line);
      CAPTURE(fields[0]);
      const auto regex = compile(unescape(fields[0]));
      const bool refused = fields.size() == 2;
      CHECK(regex.has_value() != refused);
      if (!regex || refused) continue;
      for (std::size_t i = 1; i < fields.size(); i += 2, ++searches) {
        CAPTURE(fields[i]);
        const std::size_t end = search(*regex, unescape(fields[i]));
        CHECK((end == RegexSearch::not_yet ? "-" : std::to_string(end)) == fields[i + 1]);
      }
    }
    CHECK(patterns > 4000);
    CHECK(searches > 10000);
  }

  TEST_CASE("Regex: a search that goes on gives what one from the beginning gives, each time") {
    const int wanted = test::sanitized ? 10'000 : 150'000;
    Grammar grammar;
    int cases = 0;
    int went_on = 0;  // found where a search had begun in the middle
    while (cases < wanted) {
      const std::string pattern = grammar.pattern();
      const auto regex = compile(pattern);
      if (!regex) continue;
      CAPTURE(pattern);
      for (int i = 0; i < 10; ++i, ++cases) {
        const std::string text = grammar.subject();
        CAPTURE(text);
        RegexSearch going_on(*regex);
        std::size_t begun = 0;
        std::size_t end = RegexSearch::not_yet;
        for (std::size_t size = 0; size < text.size() && end == RegexSearch::not_yet;) {
          size = std::min(text.size(), size + 1 + grammar.number(3));
          const std::string prefix = text.substr(0, size);  // of its own, for the sanitizer
          begun = going_on.restart();
          end = going_on.find_end(prefix);
          const bool same = end == search(*regex, prefix);
          if (!same) CHECK_MESSAGE(same, "other than from the beginning, of ", size, " bytes");
        }
        if (end < RegexSearch::limit && begun > 0) ++went_on;
      }
    }
    CHECK(went_on > wanted / 10);
  }

  TEST_CASE("Regex: what comes last in a long input is found by looking once at each byte (S19)") {
    constexpr std::size_t size = 1 << 18;
    for (const char* pattern :
         {"\r?\n\r?\n", "\\r\\n", "end", "(?i)END", "(?<=x)end", "\\bend\\b"}) {
      CAPTURE(pattern);
      std::string text;
      while (text.size() < size) text += "some words in a line\r\n ";
      text += "xend end \r\n\r\n";
      RegexSearch going_on{Regex(pattern)};
      std::size_t looked_at = 0;
      std::size_t end = RegexSearch::not_yet;
      std::size_t there = 0;
      while (end == RegexSearch::not_yet && there < text.size()) {
        there = std::min(text.size(), there + 100);
        looked_at += there - going_on.restart();
        end = going_on.find_end(std::string_view(text).substr(0, there));
      }
      CHECK(end != RegexSearch::not_yet);
      CHECK(looked_at < there + there / 10);
    }
  }

  TEST_CASE("Regex: a search that can no more succeed costs nothing") {
    RegexSearch going_on{Regex("\\Aab")};
    CHECK(going_on.find_end("a") == RegexSearch::not_yet);
    CHECK(going_on.restart() == 0);
    CHECK(going_on.find_end("ac") == RegexSearch::not_yet);
    CHECK(going_on.restart() == 2);
    CHECK(going_on.find_end("acab") == RegexSearch::not_yet);
    CHECK(going_on.restart() == 4);
  }

  TEST_CASE("Regex: patterns that cost too much are given up") {
    // Exponential; cubic and quadratic, with which PCRE2's limit begins anew at each byte.
    const std::string text(200'000, 'a');
    for (const char* pattern : {"(a+)+b", "(?:a|aa)+b", "(a|a)*b", "a*a*b", "(?:(?=a*b)|a)*c",
                                "a*b", "(?:a|b)*c", "(a*)(?:\\1)*b"}) {
      CAPTURE(pattern);
      CHECK(search(pattern, text) == RegexSearch::limit);
    }
    // Neither do they gain by coming byte by byte.
    RegexSearch going_on{Regex("(a+)+b")};
    std::size_t size = 1;
    while (size < 1000 && going_on.find_end(text.substr(0, size)) == RegexSearch::not_yet) ++size;
    CHECK(size < 30);
  }

  TEST_CASE("Regex: patterns that cost as much as their input is long are not given up") {
    std::string text;
    while (text.size() < 2'000'000) text += "name: value value value\r\n";
    text += "\r\n";
    for (const char* pattern : {"\\A(?:.*\r\n)*?\r\n", "\\A(?:[^\n]+\n)+\r\n", "(?s).*\n\r\n",
                                "\n\r?\n", "(?:\r\n){2}"}) {
      CAPTURE(pattern);
      CHECK(search(pattern, text) == text.size());
    }
    // As they are with a long line that comes byte by byte.
    const std::string line = std::string(3000, 'x') + "\n";
    RegexSearch going_on{Regex(".*x\n")};
    std::size_t size = 1;
    while (size < line.size() && going_on.find_end(line.substr(0, size)) == RegexSearch::not_yet) {
      ++size;
    }
    CHECK(size == line.size());
    CHECK(going_on.find_end(line) == line.size());
  }

  TEST_CASE("Regex: nothing is found in no bytes, and then what matches nothing") {
    RegexSearch going_on{Regex("x*")};
    CHECK(going_on.find_end("") == RegexSearch::not_yet);
    CHECK(going_on.find_end("a") == 0);
  }

  TEST_CASE("Regex: an error says what is wrong, where, and in which pattern") {
    CHECK(error_of("ab(") == "Regex: missing ), unterminated subpattern at offset 2 of \"ab(\"");
    CHECK(error_of("a\\q") == "Regex: bad escape \\q at offset 1 of \"a\\\\q\"");
    CHECK(error_of("(?<=a*)b").find("fixed width at offset 0") != std::string::npos);
    CHECK(error_of("a{70000}").find("above 65535") != std::string::npos);
    CHECK(error_of("(?L)a").find("flag L") != std::string::npos);
    // What only PCRE2 refuses.
    const std::string large = error_of("(?:(?:(?:abcdefgh){1000}){1000}){1000}");
    CHECK(large.find("too large (PCRE2) at offset ") != std::string::npos);
    CHECK(large.find("{1000}") != std::string::npos);
  }

  TEST_CASE("Regex: groups may nest 200 deep, not more") {
    const auto nested = [](std::size_t depth, const std::string& open) {
      std::string pattern;
      for (std::size_t i = 0; i < depth; ++i) pattern += open;
      return pattern + "a" + std::string(depth, ')');
    };
    for (const char* open : {"(", "(?:", "(?=", "(?>"}) {
      CAPTURE(open);
      CHECK(search(nested(200, open), "a") <= 1);
      CHECK(error_of(nested(201, open)).find("nest more than 200") != std::string::npos);
      CHECK(error_of(nested(100'000, open)).find("nest more than 200") != std::string::npos);
    }
    CHECK(error_of("(a)" + nested(100'000, "(?(1)")).find("nest") != std::string::npos);
  }

  TEST_CASE("Regex: from texts of all kinds, and copied") {
    const std::string text = "a\\n";
    const Regex regex = text;
    const Regex copy = regex;
    CHECK(copy.pattern() == "a\\n");
    CHECK(search(copy, "xa\n") == 3);
    CHECK(search("a\n", "xa\n") == 3);
    CHECK(search(std::string_view("\0b", 2), std::string_view("a\0b", 3)) == 3);
    Regex other("b");
    other = copy;
    CHECK(other.pattern() == text);
  }

  TEST_CASE("Regex: the last 128 that a thread made are remembered") {
    // One text, one object: what is remembered is not compiled again.
    const auto text_of = [](int i) { return "remembered" + std::to_string(i); };
    const std::string* const first = &Regex(text_of(0)).pattern();
    const Regex holder(text_of(0));  // so that its memory is not used again
    for (int i = 1; i < 128; ++i) CHECK(Regex(text_of(i)).pattern() == text_of(i));
    CHECK(&Regex(text_of(0)).pattern() == first);
    CHECK(Regex(text_of(128)).pattern() == text_of(128));
    CHECK(&Regex(text_of(0)).pattern() != first);
    CHECK(search(holder, "remembered0") == 11);
    // What is wrong is not remembered.
    CHECK(error_of("(") != "none");
    CHECK(error_of("(") != "none");
  }

  TEST_CASE("Regex: one may be used by several threads") {
    const Regex shared("(a|b)+c");
    std::vector<std::thread> threads;
    std::atomic<int> found = 0;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 200; ++j) {
          const Regex copy = shared;
          if (search(copy, "abbac") == 5 && search("x+", "xx") == 2) ++found;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(found == 800);
  }

  TEST_CASE("Regex: at the end of a thread, when what it remembers has gone") {
    bool made = false;
    struct AtEnd {
      bool* made = nullptr;
      ~AtEnd() {
        if (made != nullptr) *made = search("late+", "latee") == 5;
      }
    };
    std::thread([&made] {
      thread_local AtEnd at_end;
      at_end.made = &made;  // destroyed after the cache, which is made later
      CHECK(search("late", "late") == 4);
    }).join();
    CHECK(made);
  }
}
