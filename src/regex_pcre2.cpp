// SPDX-License-Identifier: Apache-2.0
#include "regex_search.hpp"
#include "regex_syntax.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

namespace tornado::detail {
namespace {

// PCRE2 keeps on the heap what it may have to go back to; so many KiB of that.
constexpr std::uint32_t heap_limit = 32 * 1024;
constexpr std::size_t bytes_per_unit = 16;

struct Free {
  void operator()(pcre2_compile_context* p) const noexcept { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
};

template <class T>
std::unique_ptr<T, Free> own(T* made) {
  if (made == nullptr) throw std::bad_alloc();
  return std::unique_ptr<T, Free>(made);
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// Counts what a search costs. PCRE2's own limit does not do: it begins anew at each byte at which
/// a match may begin, and does not see how far a repetition goes.
struct Work {
  std::uint64_t most;
  std::string_view pattern;  // as PCRE2 has it
  std::uint64_t items = 0;
  std::uint64_t bytes = 0;
  std::size_t last = 0;

  std::uint64_t units() const noexcept { return items + bytes / bytes_per_unit; }
};

/// How many bytes a reference to a group, the next item, compares. When they differ, where it went
/// is not seen.
std::size_t reference_length(const pcre2_callout_block& block, std::string_view pattern) {
  constexpr std::string_view begin = "\\g{";  // as regex_syntax.cpp writes them
  const std::string_view item = pattern.substr(block.pattern_position, block.next_item_length);
  if (item.substr(0, begin.size()) != begin) return 0;
  std::uint32_t group = 0;
  for (const char c : item.substr(begin.size(), item.size() - begin.size() - 1)) {
    group = 10 * group + static_cast<std::uint32_t>(c - '0');
  }
  if (group >= block.capture_top) return 0;
  const PCRE2_SIZE* const ends = block.offset_vector + std::size_t{2} * group;
  if (ends[0] == PCRE2_UNSET) return 0;
  return std::min(ends[1] - ends[0], block.subject_length - block.current_position);
}

int count_item(pcre2_callout_block* block, void* data) {
  Work& work = *static_cast<Work*>(data);
  ++work.items;
  if (block->current_position > work.last) work.bytes += block->current_position - work.last;
  work.last = block->current_position;
  work.bytes += reference_length(*block, work.pattern);
  return work.units() > work.most ? PCRE2_ERROR_MATCHLIMIT : 0;
}

}  // namespace

RegexCode::~RegexCode() { pcre2_code_free(static_cast<pcre2_code*>(compiled)); }

std::shared_ptr<const RegexCode> compile_regex(std::string_view pattern) {
  const auto code = std::make_shared<RegexCode>(std::string(pattern));
  std::string& translated = code->translated;
  try {
    translated = translate_regex(pattern);
  } catch (const RegexSyntaxError& error) {
    throw std::invalid_argument(
        fmt::format("Regex: {} at offset {} of {:?}", error.what(), error.offset, pattern));
  }
  // None of this may depend on how PCRE2 was built.
  const auto context = own(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 1000);  // the translation has its own
  constexpr std::uint32_t options = PCRE2_ALT_CIRCUMFLEX | PCRE2_DOTALL | PCRE2_MULTILINE |
                                    PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_AUTO_CALLOUT;
  int error = 0;
  std::size_t offset = 0;
  code->compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 options, &error, &offset, context.get());
  if (code->compiled == nullptr) {
    throw std::invalid_argument(
        fmt::format("Regex: {} (PCRE2) at offset {} of {:?}, written from {:?}", message_of(error),
                    offset, translated, pattern));
  }
  return code;
}

// Bytes that come can make a match begin only where the one before them was looked for. A match
// that began earlier was refused by bytes that stay what they are; PCRE2 tells the first place
// where what comes next might have made a difference.
std::size_t RegexSearch::find_end(std::string_view available) {
  if (available.empty()) return not_yet;
  const std::uint64_t size = available.size();
  const std::uint64_t earned = 4 * (size - seen_) + 2 * size + 1000;
  pool_ = std::min(pool_ + earned, burst + 4 * size);
  seen_ = available.size();

  Work work{pool_, code_->translated};
  work.last = from_;
  // Neither is kept: after a search that went far, they would be large.
  const auto context = own(pcre2_match_context_create(nullptr));
  const auto data = own(pcre2_match_data_create(1, nullptr));
  pcre2_set_callout(context.get(), count_item, &work);
  pcre2_set_heap_limit(context.get(), heap_limit);
  // In case there is a way around the callouts, which come before each item.
  pcre2_set_match_limit(context.get(), static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                           4 * pool_, std::numeric_limits<std::uint32_t>::max())));
  pcre2_set_depth_limit(context.get(), std::numeric_limits<std::uint32_t>::max());
  const int result = pcre2_match(static_cast<const pcre2_code*>(code_->compiled),
                                 reinterpret_cast<PCRE2_SPTR>(available.data()), available.size(),
                                 from_, PCRE2_PARTIAL_SOFT, data.get(), context.get());
  pool_ -= std::min(pool_, work.units());
  const PCRE2_SIZE* const offsets = pcre2_get_ovector_pointer(data.get());
  if (result >= 0) return offsets[1];
  if (result == PCRE2_ERROR_PARTIAL) {
    from_ = offsets[0];
  } else if (result == PCRE2_ERROR_NOMATCH) {
    from_ = available.size();
  } else {
    gave_up_ = true;
    return limit;
  }
  return not_yet;
}

}  // namespace tornado::detail
