// SPDX-License-Identifier: Apache-2.0
//
// tornado/version.hpp: the version of tornado-asio, for the preprocessor.
//
// The one place where the version is written: CMake and the package recipes read it from here.
#pragma once

#define TORNADO_VERSION_MAJOR 0
#define TORNADO_VERSION_MINOR 1
#define TORNADO_VERSION_PATCH 0
