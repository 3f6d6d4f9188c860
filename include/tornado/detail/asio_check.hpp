// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/asio_check.hpp: one Asio for a program and its static library.
//
// Two versions of Asio, or one whose macros say different things, give one name to classes of
// different shapes. So what Asio is like here is the name of a variable, which the library defines
// and whoever includes this needs: linking fails where they differ. Includes nothing of Asio:
// <tornado/asio.hpp> has done so, or the program.
#pragma once

#include "tornado/detail/export.hpp"

#if defined(ASIO_HAS_IOCP)
#define TORNADO_ASIO_REACTOR iocp
#elif defined(ASIO_HAS_IO_URING_AS_DEFAULT)
#define TORNADO_ASIO_REACTOR io_uring
#elif defined(ASIO_HAS_EPOLL)
#define TORNADO_ASIO_REACTOR epoll
#elif defined(ASIO_HAS_KQUEUE)
#define TORNADO_ASIO_REACTOR kqueue
#elif defined(ASIO_HAS_DEV_POLL)
#define TORNADO_ASIO_REACTOR dev_poll
#else
#define TORNADO_ASIO_REACTOR select
#endif

#if defined(ASIO_HAS_IO_URING)
#define TORNADO_ASIO_URING _and_io_uring
#else
#define TORNADO_ASIO_URING
#endif

#if defined(ASIO_HAS_EVENTFD)
#define TORNADO_ASIO_EVENTFD _eventfd
#else
#define TORNADO_ASIO_EVENTFD _pipe
#endif

#if defined(ASIO_HAS_TIMERFD)
#define TORNADO_ASIO_TIMERFD _timerfd
#else
#define TORNADO_ASIO_TIMERFD
#endif

#if !defined(ASIO_HAS_THREADS)
#define TORNADO_ASIO_THREADS _no_threads
#elif defined(ASIO_HAS_FUTEX)
#define TORNADO_ASIO_THREADS _futex
#else
#define TORNADO_ASIO_THREADS _threads
#endif

#if defined(ASIO_ENABLE_HANDLER_TRACKING)
#define TORNADO_ASIO_TRACKING _handler_tracking
#else
#define TORNADO_ASIO_TRACKING
#endif

#if defined(ASIO_ENABLE_BUFFER_DEBUGGING)
#define TORNADO_ASIO_BUFFERS _buffer_debugging
#else
#define TORNADO_ASIO_BUFFERS
#endif

#if defined(ASIO_USE_TS_EXECUTOR_AS_DEFAULT)
#define TORNADO_ASIO_EXECUTORS _ts_executors
#else
#define TORNADO_ASIO_EXECUTORS
#endif

#if defined(ASIO_HEADER_ONLY)
#define TORNADO_ASIO_COMPILED
#else
#define TORNADO_ASIO_COMPILED _separate_compilation
#endif

#define TORNADO_JOIN_NOW(version, a, b, c, d, e, f, g, h, i, cache) \
  asio_##version##_##a##b##c##d##e##f##g##h##i##_cache_##cache
#define TORNADO_JOIN(...) TORNADO_JOIN_NOW(__VA_ARGS__)

/// Such as asio_102201_epoll_eventfd_timerfd_threads_cache_2.
#define TORNADO_ASIO_NAME                                                                    \
  TORNADO_JOIN(ASIO_VERSION, TORNADO_ASIO_REACTOR, TORNADO_ASIO_URING, TORNADO_ASIO_EVENTFD, \
               TORNADO_ASIO_TIMERFD, TORNADO_ASIO_THREADS, TORNADO_ASIO_TRACKING,            \
               TORNADO_ASIO_BUFFERS, TORNADO_ASIO_EXECUTORS, TORNADO_ASIO_COMPILED,          \
               ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE)

#if defined(TORNADO_STATIC) && defined(ASIO_VERSION)
namespace tornado::detail {

extern TORNADO_EXPORT const char TORNADO_ASIO_NAME;

#if defined(__GNUC__)
[[gnu::used]]
#endif
static const char* const asio_check = &TORNADO_ASIO_NAME;

}  // namespace tornado::detail
#endif
