// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/chrono.hpp: durations, time points and clocks.
//
// <chrono> of libstdc++ also brings calendars, and with those <sstream> and locales, which would be
// a fifth of what <tornado/tornado.hpp> costs to compile.
#pragma once

#if __has_include(<bits/chrono.h>)
#include <bits/chrono.h>
#else
#include <chrono>
#endif
