// SPDX-License-Identifier: Apache-2.0
//
// Expected: ContextVar<T> hands out copies of its value: T has to be copyable
#include "tornado/contextvars.hpp"

#include <memory>

const tornado::ContextVar<std::unique_ptr<int>> variable("variable");
