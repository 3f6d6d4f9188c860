// SPDX-License-Identifier: Apache-2.0
//
// Expected: Future<T>::set_result takes what a T can be made of
#include "tornado/concurrent.hpp"

#include <string>

using namespace tornado;

void f(const Future<int>& future) { future.set_result(std::string("text")); }
