// SPDX-License-Identifier: Apache-2.0
#include "tornado/taskgroup.hpp"

#include "coroutine_support.hpp"
#include "tornado/ioloop.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::Note;
using test::outcome;
using test::sleeper;

namespace {

Future<void> wait_for(Future<void> gate) { co_await gate; }

Future<void> fail_after(Future<void> gate, const char* what) {
  co_await gate;
  throw std::runtime_error(what);
}

Future<void> fail_at_once(const char* what) {
  throw std::runtime_error(what);
  co_return;
}

/// What the errors of an ExceptionGroup say, in their order.
std::vector<std::string> errors_in(const Future<void>& group) {
  std::vector<std::string> texts;
  try {
    group.result();
  } catch (const ExceptionGroup& e) {
    for (const auto& error : e.errors()) texts.push_back(outcome(make_exception_future(error)));
  }
  return texts;
}

/// A task group whose body gives its TaskGroup away, and then waits for `end`.
class OpenGroup {
 public:
  explicit OpenGroup(Future<void> end = {})
      : future(gen::task_group([this, end](TaskGroup& made) -> Future<void> {
          group = &made;
          co_await end;
        })) {}
  OpenGroup(const OpenGroup&) = delete;
  OpenGroup& operator=(const OpenGroup&) = delete;
  TaskGroup* operator->() const { return group; }

  TaskGroup* group = nullptr;
  Future<void> future;
};

}  // namespace

TEST_SUITE("taskgroup") {
  // ---- All are waited for, on every path --------------------------------------------------------

  TEST_CASE("gen.task_group: waits for the body and for every child") {
    test::Loop loop;
    const Future<void> body_end;
    const Future<void> first;
    const Future<void> second;
    const OpenGroup group(body_end);
    group->create_task(wait_for, first);
    group->create_task(wait_for, second);
    CHECK(group->size() == 3);
    loop.iterate(2);
    body_end.set_result();
    loop.iterate();
    CHECK(group->size() == 2);
    second.set_result();
    loop.iterate();
    CHECK(group->size() == 1);
    CHECK(outcome(group.future) == "pending");
    first.set_result();
    loop.iterate();
    CHECK(outcome(group.future) == "value");
  }

  TEST_CASE("gen.task_group: with no children, or with those that are done at once") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      const auto none = [](TaskGroup&) -> Future<void> { co_return; };
      co_await gen::task_group(none);
      int count = 0;
      const auto some = [&count](TaskGroup& group) -> Future<void> {
        const auto child = [&count]() -> Future<void> {
          ++count;
          co_return;
        };
        for (int i = 0; i < 3; ++i) group.create_task(child);
        CHECK(count == 3);  // they begin when they are called
        co_return;
      };
      co_await gen::task_group(some);
      CHECK(count == 3);
    });
  }

  TEST_CASE("gen.task_group: a body that throws: the children are cancelled and waited for") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&out](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 3);
      group.create_task(sleeper, std::ref(out), 'b', 1);
      co_await gen::moment;
      throw std::runtime_error("body");
    });
    loop.run_until([&] { return !out.empty(); });
    CHECK(outcome(future) == "pending");
    loop.run_until([&] { return future.done(); });
    CHECK(out == "abBA");
    CHECK(outcome(future) == "body");
  }

  TEST_CASE("gen.task_group: a body that throws before its first wait") {
    test::Loop loop;
    std::string out;
    const auto make = [&out](bool coroutine) {
      return gen::task_group([&out, coroutine](TaskGroup& group) -> Future<void> {
        group.create_task(sleeper, std::ref(out), 'a', 1);
        if (!coroutine) throw std::runtime_error("no coroutine");
        return fail_at_once("body");
      });
    };
    const Future<void> first = make(true);
    const Future<void> second = make(false);
    loop.run_until([&] { return first.done() && second.done(); });
    CHECK(outcome(first) == "body");
    CHECK(outcome(second) == "no coroutine");
    CHECK(out == "aaAA");
  }

  TEST_CASE("gen.task_group: a child that fails: body and siblings are cancelled and waited for") {
    test::Loop loop;
    std::string out;
    const Future<void> gate;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 1);
      group.create_task(fail_after, gate, "child");
      co_await sleeper(out, 'b', 3);
    });
    loop.iterate(2);
    CHECK(out.empty());
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "child");
    CHECK(out == "abAB");
  }

  TEST_CASE("gen.task_group: a child that throws before its first wait") {
    test::Loop loop;
    std::string out;
    bool refused = false;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 1);
      const Future<void> failed = group.create_task(fail_at_once, "child");
      CHECK(outcome(failed) == "child");
      try {
        group.create_task(sleeper, std::ref(out), 'x', 1);
      } catch (const std::logic_error&) {
        refused = true;
      }
      co_await sleeper(out, 'b', 1);
    });
    CHECK(refused);
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "child");
    CHECK(out == "abAB");
  }

  TEST_CASE("gen.task_group: a function that throws instead of returning a Future is a failure") {
    test::Loop loop;
    const Future<void> future = gen::task_group([](TaskGroup& group) -> Future<void> {
      group.create_task([]() -> Future<int> { throw std::runtime_error("no coroutine"); });
      co_return;
    });
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "no coroutine");
  }

  TEST_CASE("ExceptionGroup: when several failed, in the order in which they did") {
    test::Loop loop;
    const Future<void> gate;
    const Future<void> other_gate;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(fail_after, other_gate, "late");
      group.create_task(fail_after, gate, "early");
      group.create_task([]() -> Future<void> {
        Future<void> never;
        try {
          co_await never;
        } catch (const CancelledError&) {
        }
        co_await gen::moment;
        throw std::runtime_error("while cleaning up");
      });
      co_return;
    });
    // Both in one turn: neither is cancelled, since what they wait for is complete.
    gate.set_result();
    other_gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(errors_in(future) == std::vector<std::string>{"early", "late", "while cleaning up"});
    CHECK(outcome(future) ==
          "3 errors in a task group; std::runtime_error: early; std::runtime_error: late; "
          "std::runtime_error: while cleaning up");
  }

  TEST_CASE("gen.task_group: a child's error that comes out of the body too is one error") {
    test::Loop loop;
    const Future<void> future = gen::task_group([](TaskGroup& group) -> Future<void> {
      const Future<void> gate;
      const Future<void> child = group.create_task(fail_after, gate, "child");
      gate.set_result();
      co_await child;
    });
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "child");
  }

  TEST_CASE("gen.task_group: a child that ends cancelled is no failure") {
    test::Loop loop;
    const Future<void> gate;
    Future<void> cancelled;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(wait_for, gate);
      cancelled = group.create_task(gen::sleep, Deadline(1h));
      co_return;
    });
    cancelled.cancel();
    loop.run_until([&] { return cancelled.done(); });
    CHECK(cancelled.cancelled());
    loop.iterate(2);
    CHECK(outcome(future) == "pending");  // its sibling goes on
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "value");
  }

  // ---- Cancelling -------------------------------------------------------------------------------

  TEST_CASE("gen.task_group: a body that ends cancelled by itself ends the group so") {
    test::Loop loop;
    Future<void> other;
    Future<void> gate;
    const Future<void> group = gen::task_group([&](TaskGroup& made) -> Future<void> {
      other = made.create_task(wait_for, gate);
      const Future<void> awaited = made.create_task(wait_for, Future<void>());
      awaited.cancel();
      co_await awaited;
    });
    loop.run_until([&] { return group.done(); });
    CHECK(group.cancelled());
    CHECK(other.cancelled());
  }

  TEST_CASE("gen.task_group: cancelled, it cancels body and children, and waits for them") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&out](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 4);
      group.create_task(sleeper, std::ref(out), 'b', 1);
      co_await sleeper(out, 'c', 2);
    });
    CHECK(future.cancel());
    loop.run_until([&] { return out.size() == 3; });
    CHECK(outcome(future) == "pending");
    loop.run_until([&] { return future.done(); });
    CHECK(out == "abcBCA");
    CHECK(future.cancelled());
  }

  TEST_CASE("gen.task_group: cancelled twice, the second request reaches those that clean up") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&out](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 1'000'000);
      group.create_task(sleeper, std::ref(out), 'b', 0);
      co_return;
    });
    future.cancel();
    loop.run_until([&] { return out == "abB"; });
    CHECK(future.cancel());
    loop.run_until([&] { return future.done(); });
    CHECK(out == "abB!");
    CHECK(future.cancelled());
  }

  TEST_CASE("gen.task_group: several failures ask each sibling once, so that it can clean up") {
    test::Loop loop;
    std::string out;
    const Future<void> gate;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      const auto fails_cleaning_up = [](int iterations) -> Future<void> {
        Future<void> never;
        try {
          co_await never;
        } catch (const CancelledError&) {
        }
        for (int i = 0; i < iterations; ++i) co_await gen::moment;
        throw std::runtime_error("cleaning up");
      };
      group.create_task(sleeper, std::ref(out), 'a', 6);
      group.create_task(fails_cleaning_up, 1);
      group.create_task(fails_cleaning_up, 2);
      group.create_task(fail_after, gate, "first");
      co_return;
    });
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(out == "aA");
    CHECK(errors_in(future).size() == 3);
  }

  TEST_CASE("gen.task_group: an error that comes while it is cancelled is its result") {
    test::Loop loop;
    const Future<void> future = gen::task_group([](TaskGroup& group) -> Future<void> {
      group.create_task([]() -> Future<void> {
        Future<void> never;
        try {
          co_await never;
        } catch (const CancelledError&) {
          throw std::runtime_error("cleaning up");
        }
      });
      co_return;
    });
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "cleaning up");
  }

  TEST_CASE("TaskGroup.cancel: cancels children and body, that is no failure") {
    test::Loop loop;
    std::string out;
    TaskGroup* open = nullptr;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      open = &group;
      group.create_task(sleeper, std::ref(out), 'a', 1);
      co_await sleeper(out, 'b', 1);
    });
    open->cancel();
    CHECK_THROWS_AS(open->create_task(wait_for, Future<void>()), std::logic_error);
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "value");
    CHECK(out == "abAB");
  }

  TEST_CASE("TaskGroup.cancel: by the body itself, or by a child: their next waits end") {
    test::Loop loop;
    std::string out;
    for (const bool by_body : {true, false}) {
      out.clear();
      const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
        group.create_task(sleeper, std::ref(out), 'a', 1);
        const auto canceller = [&]() -> Future<void> {
          co_await gen::moment;
          group.cancel();
          co_await sleeper(out, 'c', 1);
        };
        if (!by_body) group.create_task(canceller);
        if (by_body) group.cancel();
        co_await sleeper(out, 'b', 1);
      });
      loop.run_until([&] { return future.done(); });
      CHECK(outcome(future) == "value");
      CHECK(out == std::string(by_body ? "abAB" : "abcABC"));
    }
  }

  TEST_CASE("gen.task_group: a child that shields something: that goes on when all have ended") {
    test::Loop loop;
    const Future<void> gate;
    bool finished = false;
    const auto work = [&]() -> Future<void> {
      co_await gate;
      finished = true;
    };
    const Future<void> shielded = work();
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task([](Future<void> inner) { return gen::shield(inner); }, shielded);
      co_return;
    });
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(future.cancelled());
    CHECK_FALSE(shielded.done());
    gate.set_result();
    loop.run_until([&] { return shielded.done(); });
    CHECK(finished);
  }

  TEST_CASE("gen.task_group: nested: a failure inside cancels what is outside, and comes out") {
    test::Loop loop;
    std::string out;
    const Future<void> gate;
    const Future<void> future = gen::task_group([&](TaskGroup& outer) -> Future<void> {
      outer.create_task(sleeper, std::ref(out), 'a', 1);
      const auto inside = [&](TaskGroup& inner) -> Future<void> {
        inner.create_task(sleeper, std::ref(out), 'b', 3);
        inner.create_task(fail_after, gate, "inside");
        co_return;
      };
      co_await gen::task_group(inside);
    });
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "inside");
    CHECK(out == "bBaA");
  }

  TEST_CASE("gen.task_group: nested: cancelled from outside, the innermost is waited for") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&out](TaskGroup& outer) -> Future<void> {
      outer.create_task(
          [](std::string& text) {
            return gen::task_group([&text](TaskGroup& inner) -> Future<void> {
              inner.create_task(sleeper, std::ref(text), 'a', 5);
              co_return;
            });
          },
          std::ref(out));
      co_return;
    });
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(out == "aA");
    CHECK(future.cancelled());
  }

  // ---- create_task ------------------------------------------------------------------------------

  TEST_CASE("TaskGroup.create_task: refuses, without calling, once the group takes no more") {
    test::Loop loop;
    const Future<void> gate;
    const Future<void> end;
    int calls = 0;
    const auto refused = [&calls](TaskGroup& group) {
      const auto f = [&calls]() -> Future<void> {
        ++calls;
        co_return;
      };
      CHECK_THROWS_AS(group.create_task(f), std::logic_error);
      const Future<int> begun;
      CHECK_THROWS_AS(group.create_task(begun), std::logic_error);
      CHECK(begun.cancelled());
    };
    SUBCASE("after cancel") {
      const OpenGroup group(end);
      group->cancel();
      refused(*group.group);
      loop.run_until([&] { return group.future.done(); });
    }
    SUBCASE("after drain") {
      const OpenGroup group(end);
      const Future<void> drained = group->drain(1h);
      refused(*group.group);
      end.set_result();
      loop.run_until([&] { return group.future.done() && drained.done(); });
    }
    SUBCASE("after a child has failed") {
      const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
        group.create_task(fail_after, gate, "child");
        Future<void> never;
        try {
          co_await never;
        } catch (const CancelledError&) {
          refused(group);
        }
      });
      gate.set_result();
      loop.run_until([&] { return future.done(); });
      CHECK(outcome(future) == "child");
    }
    CHECK(calls == 0);
  }

  TEST_CASE("TaskGroup.create_task: takes in a coroutine that has begun, or has ended") {
    test::Loop loop;
    const Future<int> number;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      const int now = co_await group.create_task(make_ready_future(1));
      CHECK(now == 1);
      const int later = co_await group.create_task(number);
      CHECK(later == 2);
      group.create_task(make_exception_future(std::make_exception_ptr(std::runtime_error("old"))));
    });
    loop.iterate(2);
    number.set_result(2);
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "old");
  }

  TEST_CASE("TaskGroup.create_task: the child's Future gives its value, and cancels it alone") {
    test::Loop loop;
    std::string out;
    const Future<void> gate;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      const auto seven = [](Future<void> when) -> Future<int> {
        co_await when;
        co_return 7;
      };
      const Future<int> child = group.create_task(seven, gate);
      const Future<void> other = group.create_task(sleeper, std::ref(out), 'a', 1);
      gate.set_result();
      const int value = co_await child;
      CHECK(value == 7);
      other.cancel();
      try {
        co_await other;
      } catch (const CancelledError&) {
        out += '.';
      }
      CHECK(group.size() == 1);
    });
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "value");
    CHECK(out == "aA.");
  }

  TEST_CASE("TaskGroup.create_task: keeps what the coroutine is made of until that ends") {
    test::Loop loop;
    std::string out;
    const Future<void> gate;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      auto captured = std::make_shared<Note>(out, 'c');
      auto argument = std::make_unique<Note>(out, 'a');
      group.create_task(
          [kept = std::move(captured), &gate, &out](std::unique_ptr<Note> given) -> Future<void> {
            co_await gate;
            CHECK(kept.use_count() == 1);
            CHECK(given != nullptr);
            out += '.';
          },
          std::move(argument));
      co_return;
    });
    loop.iterate(2);
    CHECK(out.empty());
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(out == ".ac");
  }

  TEST_CASE("TaskGroup.create_task: children begin others, also when the body has returned") {
    test::Loop loop;
    int ended = 0;
    std::function<Future<void>(TaskGroup&, int)> tree = [&](TaskGroup& group,
                                                            int depth) -> Future<void> {
      co_await gen::moment;
      if (depth > 0) {
        group.create_task(std::ref(tree), std::ref(group), depth - 1);
        group.create_task(std::ref(tree), std::ref(group), depth - 1);
      }
      ++ended;
    };
    loop.run([&] {
      return gen::task_group([&](TaskGroup& group) -> Future<void> {
        group.create_task(std::ref(tree), std::ref(group), 6);
        co_return;
      });
    });
    CHECK(ended == 127);
  }

  TEST_CASE("gen.task_group: ten thousand children") {
    test::Loop loop;
    const int count = 10'000;
    const Future<void> gate;
    int ended = 0;
    const auto child = [&]() -> Future<void> {
      co_await gate;
      ++ended;
    };
    Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      for (int i = 0; i < count; ++i) group.create_task(child);
      CHECK(group.size() == static_cast<std::size_t>(count) + 1);
      co_return;
    });
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(ended == count);
    std::string out;
    future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      for (int i = 0; i < count; ++i) group.create_task(sleeper, std::ref(out), 'a', 1);
      co_return;
    });
    future.cancel();
    loop.run_until([&] { return future.done(); });
    CHECK(future.cancelled());
    CHECK(std::count(out.begin(), out.end(), 'a') == count);
    CHECK(std::count(out.begin(), out.end(), 'A') == count);
  }
}
