// SPDX-License-Identifier: Apache-2.0
//
// tests/conversation.hpp: two streams that talk at random over descriptors that fail, and the model
// of what each of them has to get. Of iostream_faults_test.cpp alone, which has the rest.
#pragma once

#include "faults_support.hpp"
#include "stream_support.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>

using tornado::Future;
using tornado::IOStream;
using tornado::IOStreamOptions;
using tornado::Partial;
using tornado::PipeIOStream;
using tornado::StreamClosedError;
using tornado::StreamErrc;
namespace gen = tornado::gen;
using test::Random;
using test::faults::Line;
using test::faults::Plan;

namespace {

// ---- What is sent

// What a stream carries is the text from some place on, over and over; its length is a prime
// number, so that what is lost, doubled or misplaced shows.
class Text {
 public:
  static constexpr std::size_t length = 65521;
  static constexpr std::size_t longest = 4 * length;  // of one view

  Text() {
    Random random(1);
    std::string once;
    while (once.size() < length) once += "abcdefgh\r\n\n"[random.below(11)];
    while (all_.size() < longest + length) all_ += once;
    char name[] = "/tmp/tornado-asio-test-XXXXXX";
    file_ = ::mkstemp(name);
    ::unlink(name);
    if (::write(file_, all_.data(), all_.size()) != static_cast<ssize_t>(all_.size())) ::abort();
  }
  ~Text() { ::close(file_); }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  std::string_view view(std::uint64_t place, std::size_t size) const {
    return std::string_view(all_).substr(place % length, size);
  }
  bool has(std::uint64_t place, std::string_view data) const {
    for (; data.size() > longest; place += longest, data.remove_prefix(longest)) {
      if (data.substr(0, longest) != view(place, longest)) return false;
    }
    return data == view(place, data.size());
  }
  int file() const { return file_; }

 private:
  std::string all_;
  int file_ = -1;
};

const Text& text() {
  static const Text instance;
  return instance;
}

// ---- Between what

using Pair = std::pair<IOStream, IOStream>;

/// A kind of stream. Another one needs one of these and a TEST_CASE.
struct Kind {
  const char* name;
  /// Bytes go both ways; else from the second stream to the first.
  bool two_way = true;
  /// What the descriptor carries is what was written, byte for byte.
  bool plain = true;
  /// Closing with bytes unread takes back what was sent, as TCP's does.
  bool unread_resets = false;
  std::vector<int> read_errors;
  std::vector<int> write_errors;
  Pair (*make)(test::Loop& loop, const IOStreamOptions& first, const IOStreamOptions& second);
};

Pair make_unix_pair(test::Loop&, const IOStreamOptions& first, const IOStreamOptions& second) {
  auto [a, b] = test::connected_sockets(test::Transport::local);
  return {IOStream(std::move(a), first), IOStream(std::move(b), second)};
}

Pair make_tcp_pair(test::Loop&, const IOStreamOptions& first, const IOStreamOptions& second) {
  // A listener is used often, but not so often that its ports are used up.
  static std::optional<std::pair<tornado::Socket, std::uint16_t>> listener;
  static int uses = 0;
  if (uses++ % 500 == 0) listener.emplace(test::bind_unused_port());
  tornado::Socket client = tornado::Socket::tcp(AF_INET);
  const tornado::Address address("127.0.0.1", listener->second);
  test::begin_connect(client, address);
  test::wait_for_events(listener->first.native_handle(), POLLIN);
  auto accepted = listener->first.accept();
  REQUIRE(accepted);
  test::wait_for_events(client.native_handle(), POLLOUT);
  Pair pair(IOStream(std::move(accepted->first), first), IOStream(std::move(client), second));
  for (const IOStream& stream : {pair.first, pair.second}) stream.set_nodelay(true);
  return pair;
}

Pair make_pipe_pair(test::Loop&, const IOStreamOptions& first, const IOStreamOptions& second) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  return {PipeIOStream(ends[0], first), PipeIOStream(ends[1], second)};
}

#ifdef TORNADO_TEST_TLS
Pair make_tls_pair(test::Loop& loop, const IOStreamOptions& first, const IOStreamOptions& second) {
  static const tornado::SSLContext server = test::server_context();
  static const tornado::SSLContext client = test::client_context();
  auto [accepted, connected] = test::connected_sockets(test::Transport::local);
  const tornado::SSLIOStream a(std::move(accepted), tornado::ServerSide::yes, server, first);
  const tornado::SSLIOStream b(std::move(connected), client, "localhost", second);
  loop.run([&] { return gen::multi(a.wait_for_handshake(), b.wait_for_handshake()); });
  return {a, b};
}
#endif

const std::vector<int> no_longer_connected{ECONNRESET, ETIMEDOUT, EPIPE, EHOSTUNREACH};
const Kind unix_sockets{.name = "Unix",
                        .read_errors = no_longer_connected,
                        .write_errors = no_longer_connected,
                        .make = make_unix_pair};
const Kind tcp_sockets{.name = "TCP",
                       .unread_resets = true,
                       .read_errors = no_longer_connected,
                       .write_errors = no_longer_connected,
                       .make = make_tcp_pair};
const Kind pipes{.name = "pipe",
                 .two_way = false,
                 .read_errors = {EIO},
                 .write_errors = {EPIPE, EIO},
                 .make = make_pipe_pair};

#ifdef TORNADO_TEST_TLS
const Kind tls{.name = "TLS",
               .plain = false,
               .unread_resets = true,
               .read_errors = no_longer_connected,
               .write_errors = no_longer_connected,
               .make = make_tls_pair};
#endif

// ---- The model

bool replaying() {
  static const bool is = std::getenv("TORNADO_FAULTS_SEED") != nullptr;
  return is;
}
#define TRACE(...) \
  if (replaying()) std::fprintf(stderr, __VA_ARGS__)

class Conversation;

/// A read that is pending.
struct Read {
  enum Kind { none, bytes, until, into, until_close };
  Kind kind = none;
  bool partial = false;
  std::size_t count = 0;  // until: the limit
  std::string delimiter;
  std::string buffer;
  Future<std::string> text;
  Future<std::size_t> filled;

  bool done() const { return kind == into ? filled.done() : text.done(); }
  bool cancel() const { return kind == into ? filled.cancel() : text.cancel(); }
};

struct Write {
  std::uint64_t end;
  Future<void> future;
};

/// One of the two streams, and what has to come true of it.
struct End {
  End(Conversation& all, const char* end_name, IOStream end_stream, const Plan& plan,
      std::uint64_t seed)
      : conversation(all),
        name(end_name),
        stream(std::move(end_stream)),
        line(stream.fileno(), plan, seed),
        start(seed % Text::length) {}

  Conversation& conversation;
  const char* name;
  IOStream stream;
  Line line;
  std::uint64_t start;  // where in the text begins what it writes
  End* peer = nullptr;
  bool reads = true;
  bool writes = true;

  std::uint64_t accepted = 0;  // bytes that it was given to write
  std::uint64_t got = 0;       // bytes that it gave to who read
  std::vector<Write> written;
  bool full = false;  // a write has met max_write_buffer_size
  Read read;
  bool write_ended = false;  // by shutdown_write
  Future<void> ended;
  bool closed_by_us = false;
  bool dropped = false;  // there is no handle any more
  std::error_code close_code;
  bool unsatisfiable = false;
  bool has_callback = false;
  int callbacks = 0;

  bool closed() const { return line.closed(); }
  bool open() const { return !dropped && !stream.closed(); }
  bool waits_to_read() const { return read.kind != Read::none; }
  bool quiet() const {
    return !waits_to_read() &&
           std::all_of(written.begin(), written.end(), [](auto& w) { return w.future.done(); });
  }
};

class Conversation {
 public:
  Conversation(test::Loop& loop, const Kind& kind, std::uint64_t seed)
      : kind_(kind), random_(seed), faulty_(random_.chance(50)) {
    const IOStreamOptions first = random_options();
    const IOStreamOptions second = random_options();
    auto [a, b] = kind.make(loop, first, second);
    if (kind.two_way && random_.chance(10)) {
      for (const IOStream& stream : {a, b}) stream.set_send_buffer_size(4096);
    }
    a_.emplace(*this, "a", std::move(a), random_plan(true, kind.two_way), random_.next());
    b_.emplace(*this, "b", std::move(b), random_plan(kind.two_way, true), random_.next());
    a_->writes = b_->reads = kind.two_way;
    a_->peer = &*b_;
    b_->peer = &*a_;
    for (End* end : {&*a_, &*b_}) set_up(*end);
  }
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  Future<void> run();
  /// What was wrong; nothing if all was right.
  const std::string& failure() const { return failure_; }
  /// Every byte of both directions has arrived.
  bool complete() const { return complete_; }

  void check(bool is_right, const End& end, const char* what) {
    if (is_right || !failure_.empty()) return;
    failure_ = std::string(end.name) + ": " + what;
    TRACE("FAILED %s\n", failure_.c_str());
  }

 private:
  IOStreamOptions random_options();
  Plan random_plan(bool reads, bool writes);
  void set_up(End& end);
  void settle();
  void settle_read(End& end);
  void read_failed(End& end, const Read& read, const StreamClosedError& error);
  void check_size(End& end, const Read& read, std::string_view data);
  /// All that its descriptor gave can be read. Where we closed it, a read that waited may have been
  /// given some already: they have not reached the stream, no more than what is in the system.
  bool knows_received(const End& end) const {
    return kind_.plain && !end.closed_by_us && !end.unsatisfiable;
  }
  bool could_be_satisfied(const End& end, const Read& read) const;
  void settle_writes(End& end);
  void step();
  void begin_read(End& end);
  void begin_read_until(End& end);
  void begin_write(End& end);
  void write_file(End& end);
  void shutdown_write(End& end);
  void close(End& end);
  void cancel_read(End& end);
  void read_rest(End& end);
  void check_end(End& end);
  bool legal_error(const End& end, const std::error_code& error) const;
  bool legal_tls_error(const End& end, const std::error_code& error) const;

  Future<void> wait_for(bool (Conversation::*done)(), const char* what);
  bool both_go_on() const { return a_->open() && b_->open() && !a_->line.cut() && !b_->line.cut(); }
  bool is_quiet() { return (a_->quiet() && b_->quiet()) || !both_go_on(); }
  bool has_closed_what_broke() {
    if (!kind_.plain) return true;  // TLS tells the next read, or write
    for (const End* end : {&*a_, &*b_}) {
      if (end->line.told() != 0 && !end->closed()) return false;
    }
    return true;
  }
  bool reads_are_done() { return !a_->waits_to_read() && !b_->waits_to_read(); }
  bool is_over() {
    for (const End* end : {&*a_, &*b_}) {
      if (!end->closed() || !end->quiet()) return false;
      if (end->has_callback && end->callbacks == 0) return false;
    }
    return true;
  }

  const Kind& kind_;
  Random random_;
  bool faulty_;
  std::optional<End> a_;
  std::optional<End> b_;
  std::string failure_;
  bool complete_ = false;
  bool disturbed_ = false;  // one end was closed before the other had all
};

}  // namespace
