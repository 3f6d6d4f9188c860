// SPDX-License-Identifier: Apache-2.0
//
// Expected: RemotePromise<T>::set_result takes one value, RemotePromise<void>'s none
#include "tornado/concurrent.hpp"

void f(tornado::RemotePromise<void>& promise) { promise.set_result(1); }
