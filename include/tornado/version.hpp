// SPDX-License-Identifier: Apache-2.0
//
// tornado/version.hpp: the version of tornado-asio, for the preprocessor and for programs.
//
// The one place where the version is written: CMake and the package recipes read it from here.
#pragma once

#include <array>
#include <string_view>

#define TORNADO_VERSION_MAJOR 0
#define TORNADO_VERSION_MINOR 1
#define TORNADO_VERSION_PATCH 0

#define TORNADO_VERSION_TEXT_OF(major, minor, patch) #major "." #minor "." #patch
#define TORNADO_VERSION_TEXT(major, minor, patch) TORNADO_VERSION_TEXT_OF(major, minor, patch)

namespace tornado {

/// That of the headers, as "0.1.0". Python: `tornado.version`.
inline constexpr std::string_view version =
    TORNADO_VERSION_TEXT(TORNADO_VERSION_MAJOR, TORNADO_VERSION_MINOR, TORNADO_VERSION_PATCH);
/// The same in numbers; the fourth is 0 for a release. Python: `tornado.version_info`.
inline constexpr std::array<int, 4> version_info = {TORNADO_VERSION_MAJOR, TORNADO_VERSION_MINOR,
                                                    TORNADO_VERSION_PATCH, 0};

}  // namespace tornado
