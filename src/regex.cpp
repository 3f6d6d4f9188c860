// SPDX-License-Identifier: Apache-2.0
#include "tornado/regex.hpp"

#include "regex_search.hpp"

#include <array>
#include <unordered_map>
#include <utility>

namespace tornado {
namespace {

using Code = std::shared_ptr<const detail::RegexCode>;

// A Regex may be made after the thread's cache has gone, by what is destroyed later.
constinit thread_local bool cache_gone = false;

/// The expressions that a thread has compiled last. When it is full the oldest goes, however often
/// it was used: as in Python.
class Cache {
 public:
  Cache() = default;
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;
  ~Cache() { cache_gone = true; }

  Code get(std::string_view pattern) {
    const auto found = codes_.find(pattern);
    if (found != codes_.end()) return found->second;
    Code code = detail::compile_regex(pattern);
    Code& slot = by_age_[oldest_++ % by_age_.size()];
    if (slot) codes_.erase(slot->pattern);
    slot = code;
    codes_.emplace(code->pattern, code);
    return code;
  }

 private:
  std::array<Code, 128> by_age_;
  std::size_t oldest_ = 0;
  std::unordered_map<std::string_view, Code> codes_;
};

Code find_or_compile(std::string_view pattern) {
  if (cache_gone) return detail::compile_regex(pattern);
  thread_local Cache cache;
  return cache.get(pattern);
}

}  // namespace

Regex::Regex(std::string_view pattern) : code_(find_or_compile(pattern)) {}
Regex::Regex(const Regex&) noexcept = default;
Regex& Regex::operator=(const Regex&) noexcept = default;
Regex::~Regex() = default;

const std::string& Regex::pattern() const noexcept { return code_->pattern; }

}  // namespace tornado
