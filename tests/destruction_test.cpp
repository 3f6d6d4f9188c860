// SPDX-License-Identifier: Apache-2.0
//
// A loop that is closed destroys what is suspended in it, at every kind of wait: each local and
// parameter once, those of the newest call first; nothing is resumed, nothing is logged. The table
// below has a coroutine for each wait; its destructors write letters.
#include "coroutine_support.hpp"
#include "server_support.hpp"
#include "tornado/asyncgen.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/iostream.hpp"
#include "tornado/taskgroup.hpp"

#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace tornado;
using namespace std::chrono_literals;
using test::Note;

namespace {

/// What the waits are made of, and what outlives the loop's end.
class Scene {
 public:
  explicit Scene(std::string& text) : out(text) {}
  ~Scene() { release.set_value(); }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  std::string& out;
  const Future<int> gate;
  const Future<void> other_gate;
  std::optional<std::pair<IOStream, IOStream>> streams;
  std::shared_ptr<test::Wire> wire;
  std::optional<gen::AsyncGenerator<int>> values;
  std::optional<RemotePromise<int>> promise;
  std::function<void(int)> callback;
  std::promise<void> release;  // the thread
  std::optional<ThreadPoolExecutor> pool;
};

/// A coroutine that is called at a wait: it has a local and is suspended.
Future<int> called(Scene& scene, char letter) {
  const Note local(scene.out, letter);
  co_await gen::sleep(1h);
  scene.out += '!';
  co_return 1;
}

gen::AsyncGenerator<int> numbers(Scene& scene, char letter) {
  const Note local(scene.out, letter);
  co_yield 1;
  static_cast<void>(co_await called(scene, 'c'));
  co_yield 2;
}

Future<void> child(Scene& scene, char letter) { static_cast<void>(co_await called(scene, letter)); }

struct Wait {
  const char* name;
  /// Suspends for ever; has the Note as its parameter, and a local of its own, 'l'.
  Future<void> (*begin)(Scene&, Note);
  /// What is written before "lp", by coroutines that it called.
  std::string_view others = "";
  bool cleans_up = false;  // soon
};

const Wait waits[] = {
    {"a Future that is kept",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await s.gate;
       s.out += '!';
     }},
    {"a Future that is handed over",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await Future<std::string>();
       s.out += '!';
     }},
    {"another coroutine",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await called(s, 'a');
       s.out += '!';
     },
     "a"},
    {"a coroutine whose Future is a local",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       const Future<int> kept = called(s, 'a');
       co_await kept;
       s.out += '!';
     },
     "a"},
    {"moment",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       for (;;) co_await gen::moment;
     }},
    {"sleep",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await gen::sleep(1h);
       s.out += '!';
     }},
    {"sleep in a loop",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       for (;;) co_await gen::sleep(0s);
     }},
    {"multi, of different types",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       const Future<int> first = called(s, 'a');
       const Future<int> second = called(s, 'b');
       co_await gen::multi(second, s.gate, first, make_ready_future());
       s.out += '!';
     },
     "ba"},
    {"a vector",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       std::vector<Future<int>> children;
       for (const char letter : {'a', 'b'}) children.push_back(called(s, letter));
       children.push_back(s.gate);
       co_await std::move(children);
       s.out += '!';
     },
     "ba"},
    {"a map",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       std::map<int, Future<int>> children;
       children.emplace(2, called(s, 'a'));
       children.emplace(1, s.gate);
       co_await std::move(children);
       s.out += '!';
     },
     "a"},
    {"with_timeout",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await gen::with_timeout(1h, called(s, 'a'));
       s.out += '!';
     },
     "a"},
    {"timeout_after",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await gen::timeout_after(1h, called, std::ref(s), 'a');
       s.out += '!';
     },
     "a"},
    {"timeout_after, in the clean-up",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await gen::timeout_after(0s, test::sleeper, std::ref(s.out), 'a', 1'000'000);
       s.out += '!';
     },
     "", true},
    {"settled",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await gen::settled(called(s, 'a'));
       s.out += '!';
     },
     "a"},
    {"shield",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       co_await gen::shield(called(s, 'a'));
       s.out += '!';
     },
     "a"},
    {"when_any",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       const Future<int> first = called(s, 'a');
       co_await gen::when_any(first, s.other_gate, first);
       s.out += '!';
     },
     "a"},
    {"WaitIterator.next",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       gen::WaitIterator<int> results(called(s, 'a'), s.gate);
       static_cast<void>(co_await results.next());
       s.out += '!';
     },
     "a"},
    {"AsyncGenerator.next, the generator being a local",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       auto values = numbers(s, 'g');
       static_cast<void>(co_await values.next());
       static_cast<void>(co_await values.next());
       s.out += '!';
     },
     "cg"},
    {"AsyncGenerator.next, the generator being outside",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       s.values = numbers(s, 'g');
       static_cast<void>(co_await s.values->next());
       static_cast<void>(co_await s.values->next());
       s.out += '!';
     },
     "cg"},
    {"something else, with a generator that has given a value",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       auto values = numbers(s, 'g');
       static_cast<void>(co_await values.next());
       co_await s.gate;
       s.out += '!';
     },
     "g"},
    {"task_group, in the body",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       const auto body = [](Scene* of, TaskGroup& group) -> Future<void> {
         const Note in_body(of->out, 'b');
         group.create_task(child, std::ref(*of), '1');
         group.create_task(child, std::ref(*of), '2');
         co_await of->gate;
       };
       co_await gen::task_group(std::bind_front(body, &s));
       s.out += '!';
     },
     "21b"},
    {"task_group, its body having returned",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       const auto body = [](Scene* of, TaskGroup& group) -> Future<void> {
         group.create_task(child, std::ref(*of), '1');
         group.create_task(child, std::ref(*of), '2');
         co_return;
       };
       co_await gen::task_group(std::bind_front(body, &s));
       s.out += '!';
     },
     "21"},
    {"TaskGroup.drain",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       const auto body = [](Scene* of, TaskGroup& group) -> Future<void> {
         const Note in_body(of->out, 'b');
         group.create_task(child, std::ref(*of), '1');
         co_await group.drain(1h);
       };
       co_await gen::task_group(std::bind_front(body, &s));
       s.out += '!';
     },
     "1b"},
    {"Task",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       const auto f = [](Scene* of, std::function<void(int)> done) { of->callback = done; };
       co_await gen::Task<int>(f, &s);
       s.out += '!';
     }},
    {"a RemotePromise's Future",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       s.promise.emplace();
       co_await s.promise->get_future();
       s.out += '!';
     }},
    {"an executor's Future",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       s.pool.emplace(1);
       const auto wait = [](Scene* of) { of->release.get_future().wait(); };
       co_await s.pool->submit(wait, &s);
       s.out += '!';
     }},
    {"read_until, the stream being a local",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       auto streams = test::make_iostream_pair();
       co_await streams.first.read_until("\n");
       s.out += '!';
     }},
    {"read_bytes, the stream being outside",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       s.streams = test::make_iostream_pair();
       s.streams->second.write("abc");
       co_await s.streams->first.read_bytes(10);
       s.out += '!';
     }},
    {"read_into a local",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       s.streams = test::make_iostream_pair();
       s.streams->second.write("abc");
       char buffer[10];
       co_await s.streams->first.read_into(buffer);
       s.out += '!';
     }},
    {"read_until_close",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       s.streams = test::make_iostream_pair(test::Transport::local);
       co_await s.streams->first.read_until_close();
       s.out += '!';
     }},
    {"write",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       s.streams = test::make_narrow_pair();
       co_await s.streams->first.write(std::string(8'000'000, 'x'));
       s.out += '!';
     }},
    {"connect",
     [](Scene& s, Note) -> Future<void> {
       const Note local(s.out, 'l');
       auto [stream, wire] = test::make_wire_stream();
       s.wire = wire;
       wire->room = 0;  // so it is never connected
       co_await stream.connect(Address("127.0.0.1", 1));
       s.out += '!';
     }},
};

/// The caller of a Wait.
Future<void> caller(Scene& scene, const Wait& wait, Note) {
  const Note local(scene.out, 'm');
  co_await wait.begin(scene, Note(scene.out, 'p'));
  scene.out += '!';
}

}  // namespace

TEST_SUITE("destruction") {
  TEST_CASE("IOLoop.close: destroys a coroutine wherever it is suspended, newest call first") {
    for (const Wait& wait : waits) {
      for (const int iterations : {0, 3}) {
        CAPTURE(std::string(wait.name));
        CAPTURE(iterations);
        std::string out;
        test::Loop loop;
        Scene scene(out);
        const Future<void> future = caller(scene, wait, Note(out, 'q'));
        bool told = false;
        future.add_done_callback([&] { told = true; });
        loop.iterate(iterations);
        CHECK_FALSE(future.done());
        CHECK((out.empty() || wait.cleans_up));
        out.clear();
        loop.close();
        CHECK(future.cancelled());
        CHECK_FALSE(told);
        CHECK(out == std::string(wait.others) + "lpmq");
      }
    }
  }

  TEST_CASE("IOLoop.close: when a cancel is on its way, it arrives nowhere") {
    for (const Wait& wait : waits) {
      for (const int iterations : {0, 3}) {
        CAPTURE(std::string(wait.name));
        CAPTURE(iterations);
        std::string out;
        test::Loop loop;
        Scene scene(out);
        const Future<void> future = caller(scene, wait, Note(out, 'q'));
        loop.iterate(iterations);
        out.clear();
        CHECK(future.cancel());
        CHECK_FALSE(future.done());
        loop.close();
        CHECK(future.cancelled());
        CHECK(out == std::string(wait.others) + "lpmq");
      }
    }
  }

  TEST_CASE("IOLoop.close: when what is waited for was completed just now, nothing is resumed") {
    for (const Wait& wait : waits) {
      CAPTURE(std::string(wait.name));
      std::string out;
      test::Loop loop;
      Scene scene(out);
      const Future<void> future = caller(scene, wait, Note(out, 'q'));
      loop.iterate(3);
      out.clear();
      scene.gate.set_result(1);
      scene.other_gate.set_result();
      if (scene.callback) scene.callback(1);
      if (scene.promise) scene.promise->set_result(1);
      if (scene.streams) scene.streams->second.write("\n0123456789");
      loop.close();
      CHECK(future.cancelled());
      CHECK(out == std::string(wait.others) + "lpmq");
    }
  }

  TEST_CASE("cancel: at every wait: all is unwound, from the innermost out") {
    for (const Wait& wait : waits) {
      if (wait.cleans_up) continue;
      CAPTURE(std::string(wait.name));
      std::string out;
      test::Loop loop;
      Scene scene(out);
      const Future<void> future = caller(scene, wait, Note(out, 'q'));
      loop.iterate(3);
      future.cancel();
      loop.run_until([&] { return future.done(); });
      CHECK(future.cancelled());
      CHECK(out.find("lpmq") != out.npos);
      loop.close();  // what is shielded has gone on
      CHECK(out.find('!') == out.npos);
      CHECK(out.size() == wait.others.size() + 4);
    }
  }

  TEST_CASE("TCPServer: destroys its handlers wherever they are suspended") {
    for (const Wait& wait : waits) {
      CAPTURE(std::string(wait.name));
      std::string out;
      test::Loop loop;
      Scene scene(out);
      auto server = std::make_unique<test::Server>(
          [&](IOStream, Address) { return caller(scene, wait, Note(out, 'q')); });
      server->listen(0, "127.0.0.1");
      const IOStream client = test::connect_to(loop, server->address());
      loop.run_until([&] { return server->connections() == 1; });
      loop.iterate(3);
      out.clear();
      server.reset();
      CHECK(out.find("lpmq") != out.npos);
      loop.iterate(3);
      loop.close();
      CHECK(out.find('!') == out.npos);
      CHECK(out.size() == wait.others.size() + 4);
    }
  }
}
