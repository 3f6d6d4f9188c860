// SPDX-License-Identifier: Apache-2.0
//
// Expected: Future<T> holds a value: T may not be a reference, an array, a function, const or
// volatile. Use a pointer or std::reference_wrapper instead.
#include "tornado/concurrent.hpp"

using namespace tornado;

void use(const Future<int&>&);
void f() { use(Future<int&>()); }
