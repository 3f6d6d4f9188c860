// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/export.hpp: TORNADO_EXPORT, which marks what a shared library offers.
//
// The library is compiled with hidden visibility, so each class or function that is defined in src/
// and named by users, or by inline code in our headers, carries the mark; exceptions always do, or
// they could not be caught outside. Templates and inline functions need none.
#pragma once

#if defined(TORNADO_STATIC)  // set by the CMake and pkg-config packages of a static build
#define TORNADO_EXPORT
#elif !defined(_WIN32)
#define TORNADO_EXPORT __attribute__((visibility("default")))
#elif defined(TORNADO_BUILDING_LIBRARY)
#define TORNADO_EXPORT __declspec(dllexport)
#else
#define TORNADO_EXPORT __declspec(dllimport)
#endif

/// A function to be kept out of the way of those that call it.
#if defined(__GNUC__)
#define TORNADO_COLD [[gnu::noinline, gnu::cold]]
#else
#define TORNADO_COLD __declspec(noinline)
#endif

/// A function that is to be part of those that call it, also where nothing else is.
#if defined(__GNUC__)
#define TORNADO_INLINE [[gnu::always_inline]]
#else
#define TORNADO_INLINE [[msvc::forceinline]]
#endif

// Where Asio is included before our headers, it has to be the library's. What says so is known once
// these of its headers have been: <asio/version.hpp>, <asio/buffer.hpp>, <asio/io_context.hpp>.
#if defined(TORNADO_STATIC) && defined(ASIO_VERSION) && defined(ASIO_BUFFER_HPP) && \
    defined(ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE)
#include "tornado/detail/asio_check.hpp"
#endif
