// SPDX-License-Identifier: Apache-2.0
//
// Random conversations over descriptors whose system calls fail at random (faults_support.hpp),
// compared with a model that knows every byte. A conversation is given by its seed;
//
//     TORNADO_FAULTS_SEED=1234 iostream_faults_test -tc='*Unix*'
//
// runs that one alone and tells what it does.
#include "conversation.hpp"

namespace {

IOStreamOptions Conversation::random_options() {
  IOStreamOptions options;
  if (random_.chance(30)) options.read_chunk_size = 1 + random_.below(300);
  if (random_.chance(10)) options.max_write_buffer_size = 100 + random_.below(3000);
  if (random_.chance(20)) options.write_watermark = random_.below(2000);
  options.buffered_writes = random_.chance(20);
  options.allow_half_open = random_.chance(20);
  return options;
}

Plan Conversation::random_plan(bool reads, bool writes) {
  Plan plan;
  plan.interrupted = static_cast<unsigned>(random_.below(20));
  plan.blocked = static_cast<unsigned>(random_.below(30));
  plan.shortened = static_cast<unsigned>(random_.below(60));
  if (!faulty_) return plan;
  const auto pick = [&](const std::vector<int>& errors) {
    return errors[static_cast<std::size_t>(random_.below(errors.size()))];
  };
  const std::uint64_t place = random_.below(random_.chance(50) ? 50 : 3000);
  if (writes && random_.chance(30)) {
    plan.write_breaks_at = place;
    plan.error = pick(kind_.write_errors);
  } else if (reads && random_.chance(40)) {
    plan.read_breaks_at = place;
    plan.error = random_.chance(20) ? 0 : pick(kind_.read_errors);
  }
  TRACE("plan: EINTR %u%% EAGAIN %u%% short %u%%, read breaks at %lld, write at %lld, by %d\n",
        plan.interrupted, plan.blocked, plan.shortened, static_cast<long long>(plan.read_breaks_at),
        static_cast<long long>(plan.write_breaks_at), plan.error);
  return plan;
}

void Conversation::set_up(End& end) {
  end.line.set_peer(end.peer->line);
  if (kind_.plain) {
    end.line.on_sent(
        [](void* argument, std::uint64_t place, std::string_view data) {
          End& self = *static_cast<End*>(argument);
          self.conversation.check(text().has(self.start + place, data), self,
                                  "other bytes were sent than were written");
        },
        &end);
  }
  if (!random_.chance(50)) return;
  end.has_callback = true;
  end.stream.set_close_callback([this, &end] {
    TRACE("%s: close callback\n", end.name);
    ++end.callbacks;
    check(end.closed(), end, "the close callback came before the close");
    for (const Write& write : end.written) {
      check(write.future.done(), end, "a write was pending in the close callback");
    }
    check(!end.waits_to_read() || end.read.done(), end, "a read was pending in the close callback");
  });
}

// ---- What comes true

void Conversation::settle() {
  for (End* end : {&*a_, &*b_}) {
    settle_read(*end);
    settle_writes(*end);
  }
}

void Conversation::settle_read(End& end) {
  if (!end.waits_to_read() || !end.read.done()) return;
  Read read = std::exchange(end.read, Read());
  std::string_view data;
  try {
    if (read.kind == Read::into) {
      data = std::string_view(read.buffer).substr(0, read.filled.result());
    } else {
      data = read.text.result();
    }
  } catch (const StreamClosedError& error) {
    read_failed(end, read, error);
    return;
  }
  TRACE("%s: got %zu\n", end.name, data.size());
  check(text().has(end.peer->start + end.got, data), end, "other bytes were read than were sent");
  check_size(end, read, data);
  end.got += data.size();
  check(end.got <= end.peer->accepted, end, "more was read than written");
}

void Conversation::check_size(End& end, const Read& read, std::string_view data) {
  if (read.kind == Read::until_close) {
    if (knows_received(end)) {
      check(end.got + data.size() == end.line.received(), end, "read_until_close has left some");
    }
  } else if (read.kind == Read::until) {
    check(data.find(read.delimiter) == data.size() - read.delimiter.size(), end,
          "read_until did not end with the first delimiter");
    check(data.size() <= read.count, end, "read_until gave more than max_bytes");
  } else if (read.partial && read.count > 0) {
    check(!data.empty() && data.size() <= read.count, end, "a partial read gave a wrong number");
  } else {
    check(data.size() == read.count, end, "a read gave a wrong number");
  }
}

void Conversation::read_failed(End& end, const Read& read, const StreamClosedError& error) {
  TRACE("%s: read failed: %s\n", end.name, error.what());
  // Reading may have ended in order before the stream was closed by something else.
  const bool half_open = end.write_ended || end.stream.options().allow_half_open;
  check((end.stream.closed() && error.real_error() == end.stream.error()) ||
            (half_open && !error.real_error()),
        end, "a read failed with a wrong error");
  check(read.kind != Read::until_close, end, "read_until_close failed");
  if (error.real_error() == StreamErrc::unsatisfiable_read) {
    if (std::exchange(end.unsatisfiable, true)) return;
    const std::string_view next = text().view(end.peer->start + end.got, 4096);
    const std::size_t found = next.find(read.delimiter);
    check(read.kind == Read::until &&
              (found == next.npos || found + read.delimiter.size() > read.count),
          end, "a read was unsatisfiable without need");
  } else if (knows_received(end)) {
    check(!could_be_satisfied(end, read), end, "a read failed that what had come could satisfy");
  }
}

bool Conversation::could_be_satisfied(const End& end, const Read& read) const {
  const std::uint64_t left = end.line.received() - end.got;
  if (read.kind != Read::until) return left >= (read.partial ? 1 : read.count);
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left, 4096));
  const std::size_t found = text().view(end.peer->start + end.got, size).find(read.delimiter);
  return found != std::string_view::npos && found + read.delimiter.size() <= read.count;
}

void Conversation::settle_writes(End& end) {
  for (std::size_t i = 0; i < end.written.size(); ++i) {
    const Write& write = end.written[i];
    if (!write.future.done()) continue;
    try {
      write.future.result();
      const bool buffered = !end.dropped && end.stream.options().buffered_writes;
      check(!kind_.plain || buffered || end.line.sent() >= write.end, end,
            "a write was done before its bytes were sent");
    } catch (const StreamClosedError& error) {
      check(end.closed(), end, "a write failed in an open stream");
      check(legal_error(end, error.real_error()), end, "a write failed with a wrong error");
      check(!kind_.plain || end.line.sent() < write.end, end, "a write failed that was sent");
    } catch (const tornado::CancelledError&) {
    }
    std::swap(end.written[i], end.written.back());
    end.written.pop_back();
    --i;
  }
}

// ---- What is done

void Conversation::step() {
  End& end = random_.chance(50) ? *a_ : *b_;
  const auto what = random_.below(100);
  if (what < 40) {
    if (end.reads && !end.waits_to_read()) begin_read(end);
  } else if (what < 75) {
    if (end.writes && !end.write_ended) begin_write(end);
  } else if (what < 82) {
    end.stream.flush();
  } else if (what < 88) {
    cancel_read(end);
  } else if (what < 92) {
    if (!end.written.empty()) end.written[random_.below(end.written.size())].future.cancel();
  } else if (what < 95) {
    if (end.writes && !end.write_ended && end.open()) write_file(end);
  } else if (what < 97) {
    if (end.writes && !end.write_ended && end.open()) shutdown_write(end);
  } else if (what < 98) {
    close(end);
  }
}

void Conversation::begin_read(End& end) {
  Read& read = end.read;
  read.kind = static_cast<Read::Kind>(Read::bytes + random_.below(3));
  read.partial = random_.chance(40);
  read.count = static_cast<std::size_t>(random_.below(random_.chance(80) ? 300 : 5000));
  const Partial partial = read.partial ? Partial::yes : Partial::no;
  if (random_.chance(2)) {
    read.kind = Read::until_close;
    read.text = end.stream.read_until_close();
  } else if (read.kind == Read::until) {
    begin_read_until(end);
  } else if (read.kind == Read::bytes) {
    read.text = end.stream.read_bytes(read.count, partial);
  } else {
    read.buffer.resize(read.count);
    read.filled = end.stream.read_into(read.buffer, partial);
  }
  TRACE("%s: read, kind %d, %zu%s\n", end.name, read.kind, read.count,
        read.partial ? ", partial" : "");
  settle_read(end);
}

void Conversation::begin_read_until(End& end) {
  static constexpr std::array delimiters{"\n", "\r\n", "a\n", "ab", "abc", "hgfedcba"};
  Read& read = end.read;
  read.partial = false;
  read.delimiter = delimiters[static_cast<std::size_t>(random_.below(delimiters.size()))];
  read.count = random_.chance(90) ? 4096 : 100;
  read.text = end.stream.read_until(read.delimiter, read.count);
}

void Conversation::begin_write(End& end) {
  std::size_t size = static_cast<std::size_t>(random_.below(random_.chance(85) ? 300 : 5000));
  if (random_.chance(1)) size = static_cast<std::size_t>(random_.below(Text::longest));
  const std::string_view data = text().view(end.start + end.accepted, size);
  const bool was_open = end.open();
  TRACE("%s: write %zu\n", end.name, size);
  Future<void> future;
  if (random_.chance(50)) {
    future = end.stream.write(data);
  } else {
    future = end.stream.write(std::string(data));
  }
  try {
    if (future.done()) future.result();
  } catch (const tornado::StreamBufferFullError&) {
    check(end.stream.options().max_write_buffer_size > 0, end, "the write buffer has no limit");
    return;
  } catch (const StreamClosedError&) {
    check(!was_open, end, "a write failed at once");
    return;
  }
  check(was_open, end, "a write was accepted by a closed stream");
  end.accepted += size;
  end.written.push_back({end.accepted, std::move(future)});
}

void Conversation::write_file(End& end) {
  const std::uint64_t size = random_.below(2000);
  TRACE("%s: write_file %zu\n", end.name, static_cast<std::size_t>(size));
  static_cast<void>(
      end.stream.write_file(text().file(), (end.start + end.accepted) % Text::length, size));
  end.accepted += size;
}

void Conversation::shutdown_write(End& end) {
  TRACE("%s: shutdown_write\n", end.name);
  end.write_ended = true;
  end.ended = end.stream.shutdown_write();
  disturbed_ = true;
}

void Conversation::close(End& end) {
  if (end.open()) {
    end.closed_by_us = disturbed_ = true;
    if (random_.chance(30)) end.close_code = std::make_error_code(std::errc::owner_dead);
  }
  TRACE("%s: close(%d)\n", end.name, end.close_code.value());
  end.stream.close(end.close_code);
  check(end.closed(), end, "close() did not close the descriptor");
  settle();
}

void Conversation::cancel_read(End& end) {
  settle_read(end);
  if (!end.waits_to_read()) return;
  TRACE("%s: cancel the read\n", end.name);
  end.read.cancel();
  check(end.read.done(), end, "a cancelled read is still pending");
  check(!end.stream.reading(), end, "the stream still reads after the read was cancelled");
  end.read = Read();
}

// ---- How it ends

Future<void> Conversation::wait_for(bool (Conversation::*done)(), const char* what) {
  const auto limit = std::chrono::steady_clock::now() + test::async_test_timeout() / 2;
  for (int turns = 1; failure_.empty() && !(this->*done)(); ++turns) {
    if (turns % 1000 == 0 && std::chrono::steady_clock::now() > limit) {
      check(false, a_->closed() && a_->quiet() ? *b_ : *a_, what);
    }
    co_await gen::moment;
    settle();
  }
}

Future<void> Conversation::run() {
  const auto steps = 4 + random_.below(20);
  for (std::uint64_t i = 0; i < steps && failure_.empty(); ++i) {
    step();
    while (random_.chance(40)) co_await gen::moment;
    settle();
  }
  for (End* end : {&*a_, &*b_}) cancel_read(*end);
  co_await wait_for(&Conversation::has_closed_what_broke, "a broken stream stays open");
  if (random_.chance(80)) {
    // All that was written arrives, unless it breaks.
    for (End* end : {&*a_, &*b_}) read_rest(*end);
    co_await wait_for(&Conversation::is_quiet, "waits for ever");
    if (both_go_on()) {
      check(a_->got == b_->accepted, *a_, "not everything arrived");
      check(b_->got == a_->accepted, *b_, "not everything arrived");
      complete_ = true;
    }
  }
  // The one goes, and the other reads what there is.
  End& first = random_.chance(50) || !kind_.two_way ? *b_ : *a_;
  End& second = *first.peer;
  cancel_read(second);
  const bool drop = random_.chance(30) && first.open() && !first.waits_to_read();
  const bool whole = first.open() && second.open() && !disturbed_ &&
                     (!kind_.unread_resets || first.got == second.accepted);
  if (drop) {
    TRACE("%s: drop\n", first.name);
    first.dropped = true;
    first.stream = IOStream();
  } else {
    close(first);
    cancel_read(first);
  }
  TRACE("%s: read_until_close\n", second.name);
  if (second.reads) {
    second.read.kind = Read::until_close;
    second.read.text = second.stream.read_until_close();
  }
  co_await wait_for(&Conversation::reads_are_done, "read_until_close does not end");
  if (drop && whole && first.line.told() == 0 && second.line.told() == 0 && !second.line.cut() &&
      !first.line.cut()) {
    check(second.got == first.accepted, second, "not everything arrived of a dropped stream");
  }
  if (!drop && first.reads) {
    first.read.kind = Read::until_close;
    first.read.text = first.stream.read_until_close();
    check(first.read.done(), first, "read_until_close of a closed stream is pending");
    settle();
  }
  close(second);
  co_await wait_for(&Conversation::is_over, "is not over");
  co_await gen::moment;
  for (End* end : {&*a_, &*b_}) check_end(*end);
}

void Conversation::read_rest(End& end) {
  if (!end.reads || !end.open() || end.waits_to_read()) return;
  end.read.kind = Read::bytes;
  end.read.partial = false;
  end.read.count = static_cast<std::size_t>(end.peer->accepted - end.got);
  TRACE("%s: read the rest, %zu\n", end.name, end.read.count);
  end.read.text = end.stream.read_bytes(end.read.count);
}

void Conversation::check_end(End& end) {
  check(end.callbacks == (end.has_callback ? 1 : 0), end, "the close callback did not come once");
  check(!end.write_ended || end.ended.done(), end, "shutdown_write is pending");
  if (!end.dropped) {
    check(legal_error(end, end.stream.error()), end, "error() is wrong");
    check(!end.stream.reading() && !end.stream.writing(), end, "it still reads or writes");
    if (knows_received(end)) {
      check(end.stream.bytes_read() == end.line.received(), end, "bytes_read() is wrong");
    }
    if (kind_.plain) {
      check(end.stream.bytes_written() == end.line.sent(), end, "bytes_written() is wrong");
    }
  }
}

bool Conversation::legal_error(const End& end, const std::error_code& error) const {
  if (end.closed_by_us && error == end.close_code) return true;
  // Its read was told, but the close came before the stream heard of it; then sending was refused.
  if (end.closed_by_us && end.line.told() != 0 && error == std::errc::broken_pipe) return true;
  // What a system says of a peer that went away without reading all.
  if ((end.peer->closed() || end.peer->line.told() != 0) &&
      (error == std::errc::connection_reset || error == std::errc::broken_pipe)) {
    return true;
  }
  if (!kind_.plain && legal_tls_error(end, error)) return true;
  if (end.unsatisfiable && error == StreamErrc::unsatisfiable_read) return true;
  return error == std::error_code(end.line.told(), std::system_category()) ||
         (end.line.told() == 0 && !error);
}

// What TLS's own wait is told is for the next read, and sending may be refused before. An end that
// nobody announced is told as such, and OpenSSL tells the other end of it by an alert. What it
// sends with the close may fail after an end in order.
bool Conversation::legal_tls_error(const End& end, const std::error_code& error) const {
  const auto is_broken = [](const End& one) {
    return one.closed() || one.line.cut() || one.line.told() != 0;
  };
  if (!is_broken(end) && !is_broken(*end.peer)) return false;
  return !error || error == StreamErrc::truncated || error.category() == tornado::ssl_category() ||
         error == std::errc::broken_pipe || error == std::errc::connection_reset;
}

// ---- Many of them

void converse(test::Loop& loop, const Kind& kind, std::uint64_t seed, int& complete) {
  Conversation conversation(loop, kind, seed);
  try {
    loop.run([&] { return conversation.run(); });
  } catch (const std::exception& error) {
    FAIL(std::string(kind.name), " conversation ", seed, " threw: ", error.what());
  }
  REQUIRE_MESSAGE(conversation.failure().empty(), std::string(kind.name), " conversation ", seed,
                  ": ", conversation.failure(), " (TORNADO_FAULTS_SEED=", seed, " replays it)");
  complete += conversation.complete() ? 1 : 0;
}

/// Of the conversations `first`, `first` + 1 and so on, `count`.
void converse_often(const Kind& kind, std::uint64_t first, int count) {
  int complete = 0;
  if (const char* seed = std::getenv("TORNADO_FAULTS_SEED")) {
    test::Loop loop;
    converse(loop, kind, std::strtoull(seed, nullptr, 10), complete);
    return;
  }
  if (test::sanitized) count /= 20;
  static_cast<void>(text());
  const int descriptors = test::open_descriptors();
  test::faults::counts = {};
  {
    test::Loop loop;
    for (int i = 0; i < count; ++i) {
      converse(loop, kind, first + static_cast<std::uint64_t>(i), complete);
    }
  }
  // A listener may stay behind.
  CHECK(test::open_descriptors() - descriptors <= 1);
  // And it was about something.
  CHECK(complete > count / 10);
  CHECK(test::faults::counts.interrupted > static_cast<std::uint64_t>(count));
  CHECK(test::faults::counts.blocked > static_cast<std::uint64_t>(count));
  CHECK(test::faults::counts.shortened > static_cast<std::uint64_t>(count));
  CHECK(test::faults::counts.broken > static_cast<std::uint64_t>(count) / 10);
}

}  // namespace

TEST_SUITE("iostream") {
  TEST_CASE("IOStream: random conversations over Unix sockets that fail, part 1 (S25, S37)") {
    converse_often(unix_sockets, 0, 40000);
  }
  TEST_CASE("IOStream: random conversations over Unix sockets that fail, part 2 (S25, S37)") {
    converse_often(unix_sockets, 1000000, 40000);
  }
  TEST_CASE("IOStream: random conversations over TCP that fails, part 1 (S25, S37)") {
    converse_often(tcp_sockets, 2000000, 40000);
  }
  TEST_CASE("IOStream: random conversations over TCP that fails, part 2 (S25, S37)") {
    converse_often(tcp_sockets, 3000000, 40000);
  }
  TEST_CASE("PipeIOStream: random conversations over pipes that fail (S25, S34, S37)") {
    converse_often(pipes, 4000000, 40000);
  }
#ifdef TORNADO_TEST_TLS
  TEST_CASE("SSLIOStream: random conversations over TLS that fails (S25, S37)") {
    converse_often(tls, 5000000, 5000);
  }
#endif
}
