// SPDX-License-Identifier: Apache-2.0
//
// tornado/taskgroup.hpp: coroutines that end before the scope in which they were begun.
//
// A TaskGroup belongs to the coroutine whose scope it is, and to that coroutine's loop.
#pragma once

#include "tornado/gen.hpp"
#include "tornado/util.hpp"

#include <cstddef>
#include <exception>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace tornado {

/// Several children of a TaskGroup failed. Python: `ExceptionGroup`.
class TORNADO_EXPORT ExceptionGroup : public std::runtime_error {
 public:
  /// \param errors  two or more, in the order in which they came.
  explicit ExceptionGroup(std::vector<std::exception_ptr> errors);
  ExceptionGroup(const ExceptionGroup&) noexcept;
  ExceptionGroup& operator=(const ExceptionGroup&) noexcept;
  ~ExceptionGroup() override;

  const std::vector<std::exception_ptr>& errors() const noexcept { return *errors_; }

 private:
  std::shared_ptr<const std::vector<std::exception_ptr>> errors_;
};

class TaskGroup;

namespace detail {

struct TaskGroupAccess;

/// What a TaskGroup, its children and those who wait for it share.
class TORNADO_EXPORT TaskGroupCore {
 public:
  enum class Role : bool { child, body };

  /// The frame of the group's scope holds one: when that frame is destroyed, the children are.
  class TORNADO_EXPORT Scope {
   public:
    explicit Scope(std::shared_ptr<TaskGroupCore> of) noexcept;
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    const std::shared_ptr<TaskGroupCore> core;
  };

  /// A child from before it is called until there is its Future.
  class TORNADO_EXPORT Beginning {
   public:
    /// \throws std::logic_error  when the group takes no more.
    Beginning(std::shared_ptr<TaskGroupCore> core, Role role);
    ~Beginning();
    Beginning(const Beginning&) = delete;
    Beginning& operator=(const Beginning&) = delete;
    void called(StateBase& state);

   private:
    std::shared_ptr<TaskGroupCore> core_;
    Role role_;
    int requests_;
  };

  TaskGroupCore();
  ~TaskGroupCore();
  TaskGroupCore(const TaskGroupCore&) = delete;
  TaskGroupCore& operator=(const TaskGroupCore&) = delete;

  void require_open() const;
  /// Asks the body too, if `body_too`, and those too that were asked before, if `again`.
  void cancel_children(bool body_too = true, bool again = true) noexcept;
  std::size_t size() const noexcept { return size_; }
  /// Until all children have ended, whatever happens meanwhile. Then throws what they failed with.
  static Future<void> join(std::shared_ptr<TaskGroupCore> core);
  static Future<void> drain(std::shared_ptr<TaskGroupCore> core, Deadline deadline);

 private:
  class Child;

  void add(StateBase& state, Role role, bool cancel);
  void ended(const StateBase& state, Role role) noexcept;
  void one_less(Role role) noexcept;
  int requests(Role role) const noexcept { return role == Role::body ? for_body_ : for_children_; }
  /// Done when there are no children left, but for the body where `but_body` says so.
  Future<void> wait_idle(bool but_body);
  bool idle(bool but_body) const noexcept;
  void destroy_children() noexcept;

  List<Child> children_;
  std::size_t size_ = 0;
  int for_body_ = 0;  // requests to cancel
  int for_children_ = 0;
  bool body_runs_ = false;
  bool body_cancelled_ = false;
  bool open_ = true;
  bool destroyed_ = false;
  std::vector<std::exception_ptr> errors_;
  std::vector<std::pair<Future<void>, bool>> idle_;
};

}  // namespace detail

/// Where `gen::task_group` lets coroutines be begun. Python: `asyncio.TaskGroup`.
///
/// A reference to it is good until the body has returned, and in the children.
class TORNADO_EXPORT TaskGroup {
 public:
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Begins a child: calls `f(args...)`, which returns a Future, and keeps `f` and `args` until
  /// that is done.
  ///
  /// \returns  the child's Future, which need not be kept. Cancelling it cancels the child alone.
  /// \throws std::logic_error  when the group takes no more: after `cancel` or `drain`, or when a
  ///                           child has failed. `f` is not called then.
  template <class F, class... Args>
  auto create_task(F&& f, Args&&... args);
  /// Takes in a coroutine that has begun.
  ///
  /// \throws std::logic_error  as above; the coroutine is cancelled then.
  template <class T>
  Future<T> create_task(Future<T> child);

  /// Cancels all children, and takes no more.
  void cancel() noexcept;

  /// Takes no more children, and waits for those there are; those that have not ended by
  /// `deadline` are cancelled, and waited for. For the group's body, as `co_await
  /// group.drain(10s)`, or for somebody outside: it does not wait for the body. A child that awaits
  /// it waits for itself, and is cancelled at the deadline.
  ///
  /// Cancelling it cancels the children.
  Future<void> drain(Deadline deadline);

  /// Children that have not ended, the body included.
  std::size_t size() const noexcept { return core_->size(); }

 private:
  friend struct detail::TaskGroupAccess;
  explicit TaskGroup(std::shared_ptr<detail::TaskGroupCore> core) noexcept;

  std::shared_ptr<detail::TaskGroupCore> core_;
};

namespace gen {

/// Runs `body(group)`, a coroutine, and waits until it and every child that was begun in the group
/// have ended, on every path: no child outlives the co_await.
///
///     co_await gen::task_group([](TaskGroup& group) -> Future<void> {
///       group.create_task(serve, 80);
///       group.create_task(serve, 8080);
///       co_return;
///     });
///
/// When a child or the body fails, all others are cancelled. A child that ends cancelled is no
/// failure. A body that ends so, and not because of the group, has the children cancelled, too, and
/// the group ends with CancelledError. Python: `async with asyncio.TaskGroup() as group`.
///
/// \par Fails with
///   what the child or the body failed with; `ExceptionGroup` when several did.
///
/// Cancelling it cancels body and children, and waits for them; once more, while they clean up,
/// it does so again.
template <class F>
[[nodiscard]] Future<void> task_group(F body);

}  // namespace gen
}  // namespace tornado

#include "tornado/detail/taskgroup_inl.hpp"
