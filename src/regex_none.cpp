// SPDX-License-Identifier: Apache-2.0
//
// In place of regex_pcre2.cpp and regex_syntax.cpp, when the library is built without PCRE2.
#include "regex_search.hpp"

#include <system_error>

namespace tornado::detail {

RegexCode::~RegexCode() = default;

std::shared_ptr<const RegexCode> compile_regex(std::string_view) {
  throw std::system_error(std::make_error_code(std::errc::not_supported),
                          "Regex: the library was built without PCRE2 (TORNADO_WITH_PCRE2=OFF)");
}

// Not reached: there is no Regex to search for.
std::size_t RegexSearch::find_end(std::string_view) { return limit; }

}  // namespace tornado::detail
