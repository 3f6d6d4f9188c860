// SPDX-License-Identifier: Apache-2.0
//
// tornado/detail/taskgroup_inl.hpp: the template bodies of tornado/taskgroup.hpp.
#pragma once

#include "tornado/taskgroup.hpp"

#include <memory>
#include <type_traits>
#include <utility>

namespace tornado {
namespace detail {

struct TaskGroupAccess {
  static TaskGroup make(std::shared_ptr<TaskGroupCore> core) noexcept {
    return TaskGroup(std::move(core));
  }
  static const std::shared_ptr<TaskGroupCore>& core(const TaskGroup& group) noexcept {
    return group.core_;
  }
};

/// Keeps a callable and its arguments while the coroutine that they make runs.
template <class T, class Bound>
Future<T> run_bound(Bound bound) {
  Future<T> work = bound();
  co_return co_await std::move(work);
}

template <class F>
Future<void> run_group(F body) {
  TaskGroup group = TaskGroupAccess::make(std::make_shared<TaskGroupCore>());
  const TaskGroupCore::Scope scope(TaskGroupAccess::core(group));
  {
    TaskGroupCore::Beginning beginning(scope.core, TaskGroupCore::Role::body);
    // What it throws before it has begun counts as its failure.
    const Future<void> running = call_as_future(body, group);
    beginning.called(*Access::state(running));
  }
  Future<void> joined = TaskGroupCore::join(scope.core);
  co_await std::move(joined);
}

}  // namespace detail

template <class F, class... Args>
auto TaskGroup::create_task(F&& f, Args&&... args) {
  detail::TaskGroupCore::Beginning beginning(core_, detail::TaskGroupCore::Role::child);
  auto bound = detail::bind_callback(std::forward<F>(f), std::forward<Args>(args)...);
  using Result = std::decay_t<std::invoke_result_t<decltype(bound)&>>;
  static_assert(detail::is_future<Result> || std::is_same_v<decltype(bound), detail::Refused>,
                "TaskGroup::create_task takes a function that returns a Future, and its arguments");
  if constexpr (detail::is_future<Result>) {
    auto child = detail::run_bound<typename Result::value_type>(std::move(bound));
    beginning.called(*detail::Access::state(child));
    return child;
  }
}

template <class T>
Future<T> TaskGroup::create_task(Future<T> child) {
  try {
    detail::TaskGroupCore::Beginning beginning(core_, detail::TaskGroupCore::Role::child);
    beginning.called(*detail::Access::state(child));
  } catch (...) {
    child.cancel();
    throw;
  }
  return child;
}

template <class F>
Future<void> gen::task_group(F body) {
  constexpr bool callable = std::is_invocable_r_v<Future<void>, F&, TaskGroup&>;
  static_assert(callable, "gen::task_group takes a coroutine: Future<void> body(TaskGroup&)");
  if constexpr (callable) return tornado::detail::run_group(std::move(body));
}

}  // namespace tornado
