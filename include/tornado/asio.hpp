// SPDX-License-Identifier: Apache-2.0
//
// tornado/asio.hpp: the bridge to Asio, and the only header here that includes any of it.
//
// For programs that have an io_context, sockets and coroutines of Asio's already:
// docs/from-asio.md.
#pragma once

#include "tornado/ioloop.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/version.hpp>

#include <memory>

// The library and the program have to be compiled with one Asio, or its classes would differ: the
// version is in the names of the functions that take them, and linking tells.
#define TORNADO_JOIN(a, b) a##b
#define TORNADO_NAME(name, version) TORNADO_JOIN(name, version)

namespace tornado {

inline namespace TORNADO_NAME(with_asio_, ASIO_VERSION) {

/// A loop on an `io_context` that the program owns, and runs: the loop's callbacks, coroutines and
/// streams have their turns among the program's own handlers.
///
///     asio::io_context io;
///     const auto loop = make_ioloop(io);
///     loop->add_callback(serve);  // a coroutine
///     io.run();
///
/// One thread at a time runs the context; the program is ended with a message when two are found in
/// the loop's callbacks at once. In those `IOLoop::current()` is the loop. In the program's own
/// handlers it is the thread's current loop: `make_current()`, on the thread that runs the context,
/// makes it this one.
///
/// `io.run()` goes on while something is pending: callbacks, timeouts, reads, writes that wait,
/// handlers of `add_handler` (so every listening TCPServer), work on other threads, and what waits
/// for those. A loop with nothing to do does not keep it from returning.
///
/// `start` and `run_sync` run the context, and with it the program's own handlers, until `stop`;
/// they leave it ready to be run again. `stop` ends no other run. `close`, or the destructor, ends
/// what is the loop's, and leaves the context as it is. A context that is destroyed first closes
/// the loop.
///
/// \param make_current  as for IOLoop's constructor.
/// \throws std::system_error  when the system has no descriptors left.
TORNADO_EXPORT std::unique_ptr<IOLoop> make_ioloop(
    asio::io_context& context, IOLoop::MakeCurrent make_current = IOLoop::MakeCurrent::if_none);

/// The same for a context that several threads run: every handler of the loop's goes through
/// `strand`.
TORNADO_EXPORT std::unique_ptr<IOLoop> make_ioloop(
    const asio::strand<asio::io_context::executor_type>& strand,
    IOLoop::MakeCurrent make_current = IOLoop::MakeCurrent::if_none);

/// The io_context of `loop`, its own or the one that it adapts: for Asio objects of the program's
/// own, whose handlers then run between the loop's. Its own is valid until the loop is closed; in
/// the handlers there `IOLoop::current()` is `loop`, and an exception that leaves one is logged.
///
/// \throws std::logic_error  when the loop has been closed.
TORNADO_EXPORT asio::io_context& get_io_context(IOLoop& loop);

/// Where the handlers of `loop` run: the executor of its io_context, or the strand.
///
/// \throws std::logic_error  when the loop has been closed.
TORNADO_EXPORT asio::any_io_executor get_executor(IOLoop& loop);

}  // namespace TORNADO_NAME(with_asio_,ASIO_VERSION)

}  // namespace tornado

#undef TORNADO_NAME
#undef TORNADO_JOIN

#include "tornado/detail/asio_inl.hpp"
