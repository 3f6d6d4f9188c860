// SPDX-License-Identifier: Apache-2.0
//
// What the server is asked to do. Each runs for as long as the meter does.
#pragma once

#include "meter.hpp"

#include <cstddef>
#include <cstdint>

/// Each of `connections` sends `size` bytes, waits for them, and sends the next. An operation is
/// one such exchange.
void ping_pong(std::uint16_t port, std::size_t connections, std::size_t size, Meter& meter);

/// Each of `connections` sends all it can, and up to 1 MiB is on its way. An operation is 64 KiB.
void stream(std::uint16_t port, std::size_t connections, Meter& meter);

/// Connects, sends `size` bytes, waits for them, closes; `connections` at a time. An operation is
/// one connection.
void churn(std::uint16_t port, std::size_t connections, std::size_t size, Meter& meter);

/// Each of `connections` sends 16 lines at once, waits for them, and sends the next 16. An
/// operation is one line.
void lines(std::uint16_t port, std::size_t connections, Meter& meter);

/// `idle` connections were used once and wait; `connections` others play ping-pong. Prints how much
/// of the server's memory each idle one takes.
void ping_pong_beside(std::uint16_t port, std::size_t idle, std::size_t connections,
                      std::size_t size, int pid, Meter& meter);
