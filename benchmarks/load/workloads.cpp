// SPDX-License-Identifier: Apache-2.0
#include "workloads.hpp"

#include "client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace {

std::vector<Connection> connect(std::uint16_t port, std::size_t count) {
  std::vector<Connection> result;
  for (std::size_t i = 0; i < count; ++i) result.emplace_back(port, i);
  return result;
}

/// All send `size` bytes and wait for them, over and over; each exchange is `operations`.
void exchange(std::vector<Connection>& connections, std::size_t size, std::uint64_t operations,
              Meter& meter) {
  Poll poll;
  for (Connection& each : connections) {
    poll.add(each);
    each.send(size);
  }
  while (meter.running()) {
    poll.wait([&](Connection& connection, std::uint32_t) {
      connection.receive();
      if (connection.awaited() > 0) return;
      meter.count(operations);
      connection.send(size);
    });
  }
}

/// Connections that have each sent `size` bytes and got them back.
std::vector<Connection> connect_idle(std::uint16_t port, std::size_t count, std::size_t size) {
  constexpr std::size_t at_a_time = 64;  // the server's backlog is limited
  std::vector<Connection> result;
  while (result.size() < count) {
    const std::size_t first = result.size();
    for (std::size_t i = first; i < std::min(count, first + at_a_time); ++i) {
      result.emplace_back(port, i).send(size);
    }
    for (std::size_t i = first; i < result.size(); ++i) {
      while (result[i].awaited() > 0) result[i].receive();
    }
  }
  return result;
}

}  // namespace

void ping_pong(std::uint16_t port, std::size_t connections, std::size_t size, Meter& meter) {
  auto all = connect_idle(port, connections, size);
  exchange(all, size, 1, meter);
}

void lines(std::uint16_t port, std::size_t connections, Meter& meter) {
  constexpr std::size_t deep = 16;
  auto all = connect_idle(port, connections, deep * Pattern::line);
  exchange(all, deep * Pattern::line, deep, meter);
}

void stream(std::uint16_t port, std::size_t connections, Meter& meter) {
  constexpr std::uint64_t on_the_way = 1024 * 1024;
  constexpr std::size_t chunk = 65536;
  auto all = connect(port, connections);
  Poll poll;
  for (Connection& each : all) poll.add(each, EPOLLIN | EPOLLOUT);
  std::uint64_t bytes = 0;
  while (meter.running()) {
    poll.wait([&](Connection& connection, std::uint32_t events) {
      if ((events & EPOLLIN) != 0) {
        const bool was_full = connection.awaited() + chunk > on_the_way;
        bytes += connection.receive();
        if (was_full && connection.awaited() + chunk <= on_the_way) {
          poll.change(connection, EPOLLIN | EPOLLOUT);
        }
      }
      if ((events & EPOLLOUT) != 0) {
        connection.send_some(chunk);
        if (connection.awaited() + chunk > on_the_way) poll.change(connection, EPOLLIN);
      }
    });
    meter.count(bytes / chunk);
    bytes %= chunk;
  }
}

void churn(std::uint16_t port, std::size_t connections, std::size_t size, Meter& meter) {
  auto all = connect(port, connections);
  Poll poll;
  for (Connection& each : all) {
    poll.add(each);
    each.send(size);
  }
  std::size_t number = all.size();
  while (meter.running()) {
    poll.wait([&](Connection& connection, std::uint32_t) {
      connection.receive();
      if (connection.awaited() > 0) return;
      meter.count();
      connection = Connection(port, number++);
      poll.add(connection);
      connection.send(size);
    });
  }
}

void ping_pong_beside(std::uint16_t port, std::size_t idle, std::size_t connections,
                      std::size_t size, int pid, Meter& meter) {
  const auto first = connect_idle(port, 1, size);
  const std::uint64_t before = pid != 0 ? memory_of(pid) : 0;
  const auto waiting = connect_idle(port, idle, size);
  if (pid != 0) {
    const std::uint64_t after = memory_of(pid);
    fmt::print(
        "idle_connections {}\nbytes_per_connection {:.0f}\n", idle,
        (static_cast<double>(after) - static_cast<double>(before)) / static_cast<double>(idle));
  }
  ping_pong(port, connections, size, meter);
}
