// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of the callbacks benchmark share.
#pragma once

#include "table.hpp"

inline constexpr int callbacks = 1'000'000;

// Nanoseconds of an asio::post: each from the one before, and all from another thread. An
// io_context asks epoll only when it has something to wait for, such as a timer.
double chained_in_asio(bool with_timer);
double flood_in_asio(bool with_timer);
