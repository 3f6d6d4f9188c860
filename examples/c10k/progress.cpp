// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace tornado;

namespace c10k {
namespace {

constexpr double bar_width = 20;
constexpr const char* erase_line = "\r\x1b[K";

std::size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

Progress::Progress() : on_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  IOLoop::current().remove_timeout(next_);
  if (on_terminal_) fmt::print(stderr, "{}", erase_line);
}

void Progress::begin(std::string phase, Share done, Detail detail, Clock::duration later) {
  IOLoop::current().remove_timeout(next_);
  phase_ = std::move(phase);
  done_ = std::move(done);
  detail_ = std::move(detail);
  begun_ = Clock::now();
  later_ = later;
  show();
}

void Progress::begin(std::string phase, Clock::duration duration, Detail detail,
                     Clock::duration later) {
  const auto done = [this, duration] {
    return std::chrono::duration<double>(Clock::now() - begun_) / duration;
  };
  begin(std::move(phase), done, std::move(detail), later);
}

void Progress::show() {
  const double done = std::clamp(done_(), 0.0, 1.0);
  std::string text = detail_();
  if (done >= 1) {
    text += ", finishing";
  } else if (done >= 0.01) {  // less is not enough to go by
    const std::chrono::duration<double> spent = Clock::now() - begun_;
    const std::chrono::duration<double> left = spent * ((1 - done) / done) + later_;
    text += fmt::format(", {:.0f} s left", std::ceil(left.count()));
  }
  if (on_terminal_) {
    const auto filled = static_cast<std::size_t>(done * bar_width);
    text = fmt::format("{:<10} [{:.<20}] {}", phase_, std::string(filled, '#'), text);
    // A line that wraps could not be redrawn.
    text.resize(std::min(text.size(), terminal_width() - 1));
    fmt::print(stderr, "{}{}", erase_line, text);
  } else {
    fmt::print(stderr, "{}: {}\n", phase_, text);
  }
  next_ = IOLoop::current().call_later(on_terminal_ ? 100ms : 1000ms, [this] { show(); });
}

}  // namespace c10k
