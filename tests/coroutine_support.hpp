// SPDX-License-Identifier: Apache-2.0
//
// tests/coroutine_support.hpp: what tests of coroutines use, beside tests/loop_support.hpp.
#pragma once

#include "loop_support.hpp"
#include "tornado/gen.hpp"

#include <cctype>
#include <exception>
#include <string>
#include <utility>

namespace test {

/// Writes a letter where it is destroyed.
class Note {
 public:
  Note(std::string& out, char letter) : out_(&out), letter_(letter) {}
  Note(Note&& other) noexcept : out_(std::exchange(other.out_, nullptr)), letter_(other.letter_) {}
  Note& operator=(Note&&) = delete;
  ~Note() {
    if (out_ != nullptr) *out_ += letter_;
  }

 private:
  std::string* out_;
  char letter_;
};

/// How `future` ended: "pending", "value", "cancelled", or what its error says. Looks at the error.
template <class T>
std::string outcome(const tornado::Future<T>& future) {
  if (!future.done()) return "pending";
  if (future.cancelled()) return "cancelled";
  const std::exception_ptr error = future.exception();
  if (!error) return "value";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "something else";
  }
}

/// Waits for ever. When it is cancelled it writes `name`, takes some iterations to clean up, and
/// writes it again as a capital; when it is cancelled once more meanwhile, a '!' instead.
inline tornado::Future<void> sleeper(std::string& out, char name, int iterations) {
  tornado::Future<void> never;
  try {
    co_await never;
  } catch (const tornado::CancelledError&) {
    out += name;
  }
  try {
    for (int i = 0; i < iterations; ++i) co_await tornado::gen::moment;
  } catch (const tornado::CancelledError&) {
    out += '!';
    throw;
  }
  out += static_cast<char>(std::toupper(name));
  throw tornado::CancelledError();
}

}  // namespace test
