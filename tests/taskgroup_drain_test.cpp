// SPDX-License-Identifier: Apache-2.0
//
// TaskGroup.drain, and the end of groups that are not joined: by their loop, or by their owner.
#include "coroutine_support.hpp"
#include "server_support.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/taskgroup.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace tornado;
using namespace std::chrono_literals;
using test::Note;
using test::outcome;
using test::sleeper;

namespace {

Future<void> wait_for(Future<void> gate) { co_await gate; }

}  // namespace

TEST_SUITE("taskgroup") {
  // ---- drain ------------------------------------------------------------------------------------

  TEST_CASE("TaskGroup.drain: for the body: done when the children have ended in time") {
    test::Loop loop;
    const Future<void> first;
    const Future<void> second;
    bool drained = false;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(wait_for, first);
      group.create_task(wait_for, second);
      co_await group.drain(1h);
      CHECK(group.size() == 1);  // itself
      drained = true;
    });
    first.set_result();
    loop.iterate(3);
    CHECK_FALSE(drained);
    second.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(drained);
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("TaskGroup.drain: with no children it is done at once") {
    test::Loop loop;
    loop.run([] {
      return gen::task_group([](TaskGroup& group) -> Future<void> {
        CHECK(group.drain(0s).done());
        co_await group.drain(1h);
      });
    });
  }

  TEST_CASE("TaskGroup.drain: what has not ended by the deadline is cancelled and waited for") {
    test::Loop loop;
    std::string out;
    bool drained = false;
    const auto begun = std::chrono::steady_clock::now();
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 3);
      group.create_task(sleeper, std::ref(out), 'b', 1);
      co_await group.drain(20ms);
      drained = out == "abBA";
    });
    loop.run_until([&] { return future.done(); });
    CHECK(std::chrono::steady_clock::now() - begun >= 20ms);
    CHECK(drained);
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("TaskGroup.drain: a deadline of zero, or past, gives one iteration") {
    test::Loop loop;
    for (const Deadline deadline : {Deadline(0s), Deadline(-1h)}) {
      std::string out;
      const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
        group.create_task([]() -> Future<void> { co_await gen::moment; });
        group.create_task(sleeper, std::ref(out), 'a', 1);
        co_await group.drain(deadline);
        out += '.';
      });
      loop.run_until([&] { return future.done(); });
      CHECK(out == "aA.");
    }
  }

  TEST_CASE("TaskGroup.drain: from a callback, its Future dropped: does not wait for the body") {
    test::Loop loop;
    std::string out;
    TaskGroup* open = nullptr;
    const Future<void> end;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      open = &group;
      group.create_task(sleeper, std::ref(out), 'a', 1);
      co_await end;
      out += '.';
    });
    loop.add_callback([&] { static_cast<void>(open->drain(1ms)); });
    loop.run_until([&] { return out == "aA"; });
    loop.iterate(2);
    CHECK(outcome(future) == "pending");
    CHECK(open->drain(1h).done());
    end.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(out == "aA.");
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("TaskGroup.drain: when the body has returned, for somebody outside") {
    test::Loop loop;
    std::string out;
    TaskGroup* open = nullptr;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      open = &group;
      group.create_task(sleeper, std::ref(out), 'a', 2);
      co_return;
    });
    loop.iterate(2);
    const Future<void> drained = open->drain(1ms);
    loop.run_until([&] { return future.done() && drained.done(); });
    CHECK(out == "aA");
    CHECK(outcome(drained) == "value");
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("TaskGroup.drain: cancelled, it cancels the children, not the body") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 1);
      const Future<void> drained = group.drain(1h);
      drained.cancel();
      try {
        co_await drained;
      } catch (const CancelledError&) {
        out += 'c';
      }
      co_await group.drain(1h);
      out += '.';
    });
    loop.run_until([&] { return future.done(); });
    CHECK(out == "acA.");
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("TaskGroup.drain: cancelled while it waits for those that it cancelled") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 20);
      const Future<void> drained = group.drain(0s);
      while (out.empty()) co_await gen::moment;
      drained.cancel();
      while (!drained.done()) co_await gen::moment;
      CHECK(drained.cancelled());
    });
    loop.run_until([&] { return future.done(); });
    CHECK(out == "aA");
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("TaskGroup.drain: a child's failure ends the body's wait for it") {
    test::Loop loop;
    std::string out;
    const Future<void> gate;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task(sleeper, std::ref(out), 'a', 2);
      group.create_task([&gate]() -> Future<void> {
        co_await gate;
        throw std::runtime_error("child");
      });
      try {
        co_await group.drain(1h);
      } catch (const CancelledError&) {
        out += 'c';
        throw;
      }
    });
    gate.set_result();
    loop.run_until([&] { return future.done(); });
    CHECK(out == "acA");
    CHECK(outcome(future) == "child");
  }

  TEST_CASE("TaskGroup.drain: a child that awaits it is cancelled at the deadline") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      group.create_task([&]() -> Future<void> {
        try {
          co_await group.drain(5ms);
        } catch (const CancelledError&) {
          out += 'c';
          throw;
        }
      });
      co_return;
    });
    loop.run_until([&] { return future.done(); });
    CHECK(out == "c");
    CHECK(outcome(future) == "value");
  }

  // ---- Groups that are destroyed
  // -----------------------------------------------------------------

  TEST_CASE("IOLoop.close: destroys a group's children before its body, the newest first") {
    std::string order;
    {
      test::Loop loop;
      const auto child = [&order](Note local) -> Future<void> {
        const Note kept = std::move(local);
        co_await Future<void>();
        order += '!';
      };
      const auto outside = [&](Note local) -> Future<void> {
        const Note kept = std::move(local);
        const auto body = [&](TaskGroup& group) -> Future<void> {
          const Note of_body(order, 'b');
          group.create_task(child, Note(order, '1'));
          group.create_task(child, Note(order, '2'));
          co_await gen::sleep(1h);
        };
        co_await gen::task_group(body);
        order += '!';
      };
      const Future<void> future = outside(Note(order, 'o'));
      loop.iterate(2);
      CHECK(order.empty());
      loop.close();
      CHECK(future.cancelled());
    }
    CHECK(order == "21bo");
  }

  TEST_CASE("IOLoop.close: destroys children that clean up, and those that were asked just now") {
    for (const int iterations : {0, 2}) {
      std::string order;
      {
        test::Loop loop;
        const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
          group.create_task(sleeper, std::ref(order), 'a', 1'000'000);
          group.create_task([](Note) -> Future<void> { co_await Future<void>(); },
                            Note(order, 'n'));
          static_cast<void>(group.drain(1h));
          co_return;
        });
        future.cancel();
        loop.iterate(iterations);
        loop.close();
        CHECK(future.cancelled());
      }
      CHECK(order == (iterations == 0 ? "n" : "an"));
    }
  }

  TEST_CASE("gen.task_group: destroyed by its owner, with its children, a drain outside ends") {
    test::Loop loop;
    std::string order;
    TaskGroup* open = nullptr;
    auto server = std::make_unique<test::Server>([&](IOStream stream, Address) -> Future<void> {
      const auto body = [&](TaskGroup& group) -> Future<void> {
        open = &group;
        const auto child = [&order](Note, IOStream from) -> Future<void> {
          co_await Future<void>();
          from.close();
          order += '!';
        };
        group.create_task(child, Note(order, '1'), stream);
        group.create_task(child, Note(order, '2'), stream);
        co_return;
      };
      const Note local(order, 's');
      co_await gen::task_group(body);
    });
    server->listen(0, "127.0.0.1");
    const IOStream client = test::connect_to(loop, server->address());
    loop.run_until([&] { return open != nullptr; });
    const Future<void> drained = open->drain(1h);
    server.reset();
    CHECK(order == "21s");
    loop.run_until([&] { return drained.done(); });
    CHECK(outcome(drained) == "value");
  }

  TEST_CASE("gen.task_group: a child that destroys the group's owner ends at its next wait") {
    test::Loop loop;
    std::string order;
    const Future<void> gate;
    Future<void> child_ended;
    std::unique_ptr<test::Server> server;
    const auto destroyer = [&](Note) -> Future<void> {
      co_await gate;
      server.reset();
      order += '.';
      co_await Future<void>();
    };
    server = std::make_unique<test::Server>([&](IOStream, Address) -> Future<void> {
      const auto body = [&](TaskGroup& group) -> Future<void> {
        group.create_task([](Note) -> Future<void> { co_await Future<void>(); }, Note(order, 'x'));
        child_ended = group.create_task(destroyer, Note(order, 'd'));
        co_return;
      };
      co_await gen::task_group(body);
      order += '!';
    });
    server->listen(0, "127.0.0.1");
    const IOStream client = test::connect_to(loop, server->address());
    loop.run_until([&] { return server->connections() == 1; });
    gate.set_result();
    loop.run_until([&] { return child_ended.done(); });
    CHECK(child_ended.cancelled());
    CHECK(order == "x.d");
  }

  TEST_CASE("TaskGroup.create_task: a child whose call destroys the group ends at its next wait") {
    test::Loop loop;
    TaskGroup* open = nullptr;
    std::unique_ptr<test::Server> server;
    server = std::make_unique<test::Server>([&](IOStream, Address) {
      return gen::task_group([&](TaskGroup& group) -> Future<void> {
        open = &group;
        co_await Future<void>();
      });
    });
    server->listen(0, "127.0.0.1");
    const IOStream client = test::connect_to(loop, server->address());
    loop.run_until([&] { return open != nullptr; });
    const Future<void> child = open->create_task([&]() -> Future<void> {
      server.reset();
      co_await Future<void>();
    });
    loop.run_until([&] { return child.done(); });
    CHECK(child.cancelled());
  }

  // ---- What a child does before its first wait
  // -----------------------------------------------------

  TEST_CASE("TaskGroup: a child counts from its call on, and can cancel the group and itself") {
    test::Loop loop;
    std::string out;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      CHECK(group.size() == 1);
      group.create_task(sleeper, std::ref(out), 'a', 1);
      group.create_task([&]() -> Future<void> {
        CHECK(group.size() == 3);
        group.cancel();
        co_await sleeper(out, 'b', 1);
      });
      CHECK(group.size() == 3);
      co_await sleeper(out, 'c', 1);
    });
    loop.run_until([&] { return future.done(); });
    CHECK(out == "abcABC");
    CHECK(outcome(future) == "value");
  }

  TEST_CASE("TaskGroup.create_task: an argument whose copy throws leaves no child behind") {
    struct Refuses {
      Refuses() = default;
      Refuses(const Refuses&) { throw std::runtime_error("no copies"); }
    };
    test::Loop loop;
    const Future<void> future = gen::task_group([&](TaskGroup& group) -> Future<void> {
      const Refuses argument;
      const auto child = [](const Refuses&) -> Future<void> { co_return; };
      CHECK_THROWS_WITH(group.create_task(child, argument), "no copies");
      CHECK(group.size() == 1);
      co_return;
    });
    loop.run_until([&] { return future.done(); });
    CHECK(outcome(future) == "value");
  }
}
