// SPDX-License-Identifier: Apache-2.0
//
// The command lines of these examples: `--name value` or `--name=value`.
//
//     Arguments arguments(argc, argv);
//     const auto port = arguments.number<std::uint16_t>("--port", 8888, 0, 65535);
//     arguments.done();
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// Gives out the arguments by name. An argument that is wrong is a std::invalid_argument, whose
/// message names it. Where one is there twice, the last counts.
class Arguments {
 public:
  Arguments(int argc, char** argv) : words_(argv + 1, argv + argc) {}

  /// Whether there is a `--name` that takes no value.
  bool flag(std::string_view name) { return std::erase(words_, name) > 0; }

  std::string text(std::string_view name, std::string_view otherwise) {
    return take(name).value_or(std::string(otherwise));
  }

  /// A whole number from `lowest` to `highest`.
  template <class T>
  T number(std::string_view name, T otherwise, T lowest, T highest) {
    const std::optional<std::string> value = take(name);
    if (!value) return otherwise;
    T result{};
    const char* const end = value->data() + value->size();
    const auto [stopped, error] = std::from_chars(value->data(), end, result);
    if (error != std::errc() || stopped != end || result < lowest || result > highest) {
      throw std::invalid_argument(fmt::format("{}: \"{}\" is not a whole number from {} to {}",
                                              name, *value, lowest, highest));
    }
    return result;
  }

  /// Call it last: an error if there is an argument that nobody asked for.
  void done() const {
    if (!words_.empty()) {
      throw std::invalid_argument(
          fmt::format("{}: no such option; --help lists them", words_.front()));
    }
  }

 private:
  // The value of the last `--name`; all of them are removed.
  std::optional<std::string> take(std::string_view name) {
    std::optional<std::string> value;
    for (auto word = words_.begin(); word != words_.end();) {
      if (word->size() > name.size() && word->starts_with(name) && (*word)[name.size()] == '=') {
        value = word->substr(name.size() + 1);
        word = words_.erase(word);
      } else if (*word == name) {
        if (word + 1 == words_.end()) {
          throw std::invalid_argument(fmt::format("{}: the value is missing", name));
        }
        value = *(word + 1);
        word = words_.erase(word, word + 2);
      } else {
        ++word;
      }
    }
    return value;
  }

  std::vector<std::string> words_;
};
