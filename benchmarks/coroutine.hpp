// SPDX-License-Identifier: Apache-2.0
//
// What the two halves of the coroutine benchmark share.
#pragma once

#include "table.hpp"

inline constexpr int calls = 2'000'000;

// Nanoseconds of a call and co_await in asio::awaitable; infinity where Asio knows no coroutines.
double ready_in_asio();
double suspending_in_asio();
