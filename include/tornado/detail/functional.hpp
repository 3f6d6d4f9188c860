// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/functional.hpp: std::function, and std::invoke.
//
// <functional> of libstdc++ also brings hash tables and the algorithms, for its searchers, which
// would be a tenth of what <tornado/tornado.hpp> costs to compile.
#pragma once

#if __has_include(<bits/std_function.h>)
#include <bits/std_function.h>
#else
#include <functional>
#endif

#include <tuple>
#include <type_traits>
#include <utility>

namespace tornado::detail {

/// std::invoke, which is in <functional> alone; std::apply does the same.
template <class F, class... Args>
constexpr std::invoke_result_t<F, Args...> invoke(F&& f, Args&&... args) {
  if constexpr (std::is_member_pointer_v<std::remove_cvref_t<F>>) {
    return std::apply(f, std::forward_as_tuple(std::forward<Args>(args)...));
  } else {
    return std::forward<F>(f)(std::forward<Args>(args)...);
  }
}

}  // namespace tornado::detail
