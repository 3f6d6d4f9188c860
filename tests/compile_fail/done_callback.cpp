// SPDX-License-Identifier: Apache-2.0
//
// Expected: a done-callback is called as callback(Future<T>), or as callback()
#include "tornado/gen.hpp"

#include <string>

using namespace tornado;

void f(const Future<int>& future) {
  future.add_done_callback([](const std::string&) {});
}
