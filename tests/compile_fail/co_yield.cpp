// SPDX-License-Identifier: Apache-2.0
//
// Expected: an AsyncGenerator<T> has to co_yield what a T can be made of
#include "tornado/asyncgen.hpp"

using namespace tornado;

gen::AsyncGenerator<int> f() { co_yield "text"; }
