// SPDX-License-Identifier: Apache-2.0
//
// Expected: AsyncGenerator<T> gives values: T may not be void, a reference, an array, a function,
// const or volatile
#include "tornado/asyncgen.hpp"

using namespace tornado;

gen::AsyncGenerator<int&> f(int& value) { co_yield value; }
