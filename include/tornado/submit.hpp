// SPDX-License-Identifier: Apache-2.0
//
// tornado/submit.hpp: what IOLoop::submit needs, and nothing else does.
//
// Apart from <tornado/ioloop.hpp>, and not part of <tornado/tornado.hpp>, since <future> would be a
// seventh of what that costs to compile.
#pragma once

#include "tornado/ioloop.hpp"

#include <future>

namespace tornado::detail {

template <class T>
class BlockingPromise : public std::promise<T> {};

}  // namespace tornado::detail
