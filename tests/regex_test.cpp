// SPDX-License-Identifier: Apache-2.0
//
// Regex against Python's re, by a table that regex_python.py writes; and the search that goes on when
// more bytes come against one that begins anew.
#include "tornado/regex.hpp"

#include "loop_support.hpp"
#include "regex_search.hpp"
#include "support.hpp"

#include <cstddef>
#include <fstream>
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
}
