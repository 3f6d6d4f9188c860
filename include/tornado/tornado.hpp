// SPDX-License-Identifier: Apache-2.0
//
// tornado/tornado.hpp: all of the library, but for the bridge to Asio, <tornado/asio.hpp>, and for
// IOLoop::submit, <tornado/submit.hpp>.
#pragma once

#include "tornado/asyncgen.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/contextvars.hpp"
#include "tornado/gen.hpp"
#include "tornado/inspect.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/log.hpp"
#include "tornado/netutil.hpp"
#include "tornado/regex.hpp"
#include "tornado/ssl.hpp"
#include "tornado/stream_backend.hpp"
#include "tornado/taskgroup.hpp"
#include "tornado/tcpclient.hpp"
#include "tornado/tcpserver.hpp"
#include "tornado/util.hpp"
#include "tornado/version.hpp"
