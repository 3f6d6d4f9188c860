// SPDX-License-Identifier: Apache-2.0
//
// A program without the bridge, and with Asio, for the linker.
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/version.hpp>

static_assert(ASIO_VERSION > 0);  // so that this one stays the first

#include "tornado/tornado.hpp"

int main() { tornado::IOLoop::current().close(); }
