// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include <tornado/gen.hpp>
#include <tornado/util.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

using namespace std::chrono_literals;
using namespace tornado;

namespace c10k {
namespace {

// No more than wait to be accepted in the shortest backlog that is usual.
constexpr std::size_t opened_at_once = 128;
constexpr auto answer_timeout = 30s;

// The connection, the number of the line, and characters which depend on both.
std::string make_line(std::size_t connection, std::uint64_t number, std::size_t size) {
  constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
  std::string line;
  line.reserve(size);
  fmt::format_to(std::back_inserter(line), "{} {} ", connection, number);
  std::uint64_t state = (static_cast<std::uint64_t>(connection) << 32) + number;
  while (line.size() < size - 1) {
    // SplitMix64
    std::uint64_t bits = state += 0x9e3779b97f4a7c15;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
    bits ^= bits >> 31;
    for (int i = 0; i < 10 && line.size() < size - 1; ++i, bits >>= 6) line += alphabet[bits & 63];
  }
  line += '\n';
  return line;
}

std::size_t count_wrong(std::string_view sent, std::string_view back) {
  std::size_t wrong = back.size() > sent.size() ? back.size() - sent.size() : 0;
  for (std::size_t i = 0; i < std::min(sent.size(), back.size()); ++i) wrong += sent[i] != back[i];
  return wrong;
}

}  // namespace

Client::Client(const Options& options, Address server, Results& results)
    : options_(options), server_(std::move(server)), results_(results) {
  results_.wanted = options_.connections;
  connections_.resize(options_.connections);
  for (std::size_t i = 0; i < connections_.size(); ++i) connections_[i].number = i;
}

// ---- opening

Future<void> Client::open_all() {
  const auto begun = Clock::now();
  std::vector<Future<void>> workers;
  for (std::size_t i = 0; i < opened_at_once; ++i) workers.push_back(open_some());
  co_await gen::multi(std::move(workers));
  results_.opening = Clock::now() - begun;
}

Future<void> Client::open_some() {
  while (next_to_open_ < connections_.size()) {
    Connection& connection = connections_[next_to_open_++];
    co_await open(connection);
  }
}

Future<void> Client::open(Connection& connection) {
  const Future<IOStream> connecting = connect();
  try {
    connection.stream = co_await gen::with_timeout(answer_timeout, connecting);
    co_await exchange_line(connection);
    ++results_.opened;
  } catch (const std::exception& error) {
    connecting.cancel();
    fail(connection, error);
  }
}

// When the ports of one source address have run short, the next one has as many again.
Future<IOStream> Client::connect() {
  for (;;) {
    const int source = source_;
    Socket socket = Socket::tcp(server_.family());
    if (source > 1) {
#ifdef IP_BIND_ADDRESS_NO_PORT
      // The port is chosen when connecting, and only has to differ towards this server.
      socket.setsockopt(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
#endif
      socket.bind(Address(fmt::format("127.0.0.{}", source), 0));
    }
    try {
      IOStream stream(std::move(socket));
      co_return co_await stream.connect(server_);
    } catch (const StreamClosedError& error) {
      if (error.real_error() != std::errc::address_not_available || source == 254) throw;
    }
    if (source_ == source) ++source_;
  }
}

// ---- exchanging

Future<void> Client::exchange_all() {
  const auto begun = Clock::now();
  const auto count = static_cast<Clock::rep>(connections_.size());
  end_ = begun + options_.duration;
  if (options_.rate > 0) {
    const auto interval = Clock::duration(1s) * count / static_cast<Clock::rep>(options_.rate);
    interval_ = std::min<Clock::duration>(interval, options_.duration);
  }
  std::vector<Future<void>> loops;
  for (Connection& connection : connections_) {
    if (!connection.stream) continue;
    // The starts are spread evenly over an interval.
    const auto offset = interval_ * static_cast<Clock::rep>(connection.number) / count;
    loops.push_back(exchange_lines(connection, begun + offset));
  }
  co_await gen::multi(std::move(loops));
  results_.exchanging = Clock::now() - begun;
}

Future<void> Client::exchange_lines(Connection& connection, Clock::time_point next) {
  try {
    do {
      if (next > Clock::now()) co_await gen::sleep(next);
      results_.latencies.add(co_await exchange_line(connection));
      ++results_.messages;
      next += interval_;
    } while (std::max(next, Clock::now()) < end_);
  } catch (const std::exception& error) {
    fail(connection, error);
  }
}

Future<Client::Clock::duration> Client::exchange_line(Connection& connection) {
  const std::string line = make_line(connection.number, connection.lines++, options_.size);
  const auto sent = Clock::now();
  connection.stream.write(line);
  results_.bytes_sent += line.size();
  const std::string back =
      co_await gen::with_timeout(answer_timeout, connection.stream.read_until("\n"));
  const auto latency = Clock::now() - sent;
  results_.bytes_back += std::min(back.size(), line.size());
  if (back != line) {
    results_.bytes_wrong += count_wrong(line, back);
    throw std::runtime_error("the reply was not the line that was sent");
  }
  co_return latency;
}

void Client::fail(Connection& connection, const std::exception& error) {
  const bool timed_out = dynamic_cast<const TimeoutError*>(&error) != nullptr;
  ++results_.failed;
  ++results_.failures[timed_out ? fmt::format("no answer within {} s", answer_timeout.count())
                                : error.what()];
  if (connection.stream) connection.stream.close();  // also if a read is pending
  connection.stream = IOStream();
}

}  // namespace c10k
