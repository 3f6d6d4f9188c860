// SPDX-License-Identifier: Apache-2.0
#include "loop_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/ioloop.hpp"
#include "tornado/netutil.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tornado;
using namespace std::chrono_literals;
using namespace std::string_literals;
using doctest::Contains;

namespace {

using Addresses = std::vector<Address>;

/// What this program's getaddrinfo answers for names of the tests' own: a server of names that can
/// be slow, or fail. All other names go to the system's.
class Names {
 public:
  // A fork does not catch a thread inside.
  Names() {
    ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                     [] { instance().mutex_.unlock(); });
  }

  /// Never destroyed: a thread may be waiting for an answer when the program ends.
  static Names& instance() {
    static Names& names = *new Names;
    return names;
  }

  /// From now on `name` means this IP address.
  void set(const std::string& name, const std::string& ip) { change(name, {ip, 0, 0, false}); }
  /// From now on looking up `name` fails.
  void fail(const std::string& name, int code, int error = 0) {
    change(name, {"", code, error, false});
  }
  /// From now on whoever looks up `name` waits, until it is set or made to fail.
  void hold(const std::string& name) { change(name, {"", 0, 0, true}); }

  /// How often `name` was asked for.
  int asked(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return asked_[name];
  }
  /// Blocks until `name` has been asked for.
  void wait_until_asked(const std::string& name, int times = 1) {
    std::unique_lock lock(mutex_);
    REQUIRE(
        changed_.wait_for(lock, test::async_test_timeout(), [&] { return asked_[name] >= times; }));
  }
  /// The threads that asked for `name`, in order.
  std::vector<pid_t> threads(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return threads_[name];
  }
  bool signals_were_blocked() {
    const std::lock_guard lock(mutex_);
    return signals_were_blocked_;
  }

  int look_up(const char* name, const char* service, const addrinfo* hints, addrinfo** result) {
    using Function = decltype(&::getaddrinfo);
    static const auto real = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    if (name == nullptr || (hints->ai_flags & AI_NUMERICHOST) != 0) {
      return real(name, service, hints, result);
    }
    std::unique_lock lock(mutex_);
    ++asked_[name];
    threads_[name].push_back(::gettid());
    changed_.notify_all();
    const auto entry = entries_.find(name);
    if (entry == entries_.end()) {
      lock.unlock();
      return real(name, service, hints, result);
    }
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    signals_were_blocked_ = ::sigismember(&mask, SIGINT) == 1;
    changed_.wait(lock, [&] { return !entry->second.held; });
    const Entry answer = entry->second;
    lock.unlock();
    if (answer.code == 0) return real(answer.ip.c_str(), service, hints, result);
    errno = answer.error;
    return answer.code;
  }

 private:
  struct Entry {
    std::string ip;
    int code;
    int error;
    bool held;
  };

  void change(const std::string& name, const Entry& entry) {
    const std::lock_guard lock(mutex_);
    entries_.insert_or_assign(name, entry);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, int> asked_;
  std::map<std::string, std::vector<pid_t>> threads_;
  bool signals_were_blocked_ = false;
};

Names& names = Names::instance();

/// A name that nobody used before.
std::string fresh_name() {
  static int count = 0;
  return "host" + std::to_string(++count) + ".test";
}

/// Names that make all threads of the Resolvers wait, until the end of the scope.
class BusyThreads {
 public:
  explicit BusyThreads(std::size_t count = 4) {
    for (std::size_t i = 0; i < count; ++i) {
      names_.push_back(fresh_name());
      names.hold(names_.back());
      futures_.push_back(Resolver().resolve(names_.back(), 80));
    }
    for (const auto& name : names_) names.wait_until_asked(name);
  }
  ~BusyThreads() {
    for (const auto& name : names_) names.set(name, "127.0.0.1");
  }
  BusyThreads(const BusyThreads&) = delete;
  BusyThreads& operator=(const BusyThreads&) = delete;

  const std::string& name(std::size_t index) const { return names_[index]; }
  const Future<Addresses>& future(std::size_t index) const { return futures_[index]; }

 private:
  std::vector<std::string> names_;
  std::vector<Future<Addresses>> futures_;
};

Addresses resolve(test::Loop& loop, Resolver& resolver, const std::string& host,
                  std::uint16_t port = 80, int family = AF_UNSPEC) {
  return loop.run([&] { return resolver.resolve(host, port, family); });
}

bool contains(const Addresses& addresses, const Address& address) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

bool thread_exists(pid_t thread) {
  return ::access(("/proc/self/task/" + std::to_string(thread)).c_str(), F_OK) == 0;
}

/// Runs this program again, for one test case, with TORNADO_TEST_CHILD set. Its exit status; -1 if
/// it did not end in 30 s.
int run_again(const std::string& test_case) {
  const pid_t process = ::fork();
  if (process == 0) {
    ::setenv("TORNADO_TEST_CHILD", "1", 1);
    ::alarm(30);
    const std::string filter = "--test-case=" + test_case;
    ::execl("/proc/self/exe", "resolver_test", filter.c_str(), nullptr);
    ::_exit(99);
  }
  int status = -1;
  ::waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static_assert(std::is_base_of_v<IOError, ResolverError>);
static_assert(std::has_virtual_destructor_v<Resolver>);
static_assert(std::is_same_v<netutil::Resolver, Resolver>);
static_assert(std::is_same_v<netutil::OverrideResolver, OverrideResolver>);

}  // namespace

extern "C" __attribute__((visibility("default"))) int getaddrinfo(const char* name,
                                                                  const char* service,
                                                                  const addrinfo* hints,
                                                                  addrinfo** result) {
  return Names::instance().look_up(name, service, hints, result);
}

TEST_SUITE("resolver") {
  // Python: netutil_test._ResolverTestMixin.test_localhost
  TEST_CASE("Resolver.resolve: localhost") {
    test::Loop loop;
    Resolver resolver;
    CHECK(contains(resolve(loop, resolver, "localhost"), Address("127.0.0.1", 80)));
  }

  // Python: netutil_test._ResolverTestMixin.test_future_interface
  TEST_CASE("Resolver.resolve: the Future is what a coroutine awaits") {
    test::Loop loop;
    loop.run([]() -> Future<void> {
      Resolver resolver;
      const Addresses addresses = co_await resolver.resolve("localhost", 80, AF_UNSPEC);
      CHECK(contains(addresses, Address("127.0.0.1", 80)));
    });
  }

  // Python: netutil_test._ResolverErrorTestMixin.test_bad_host
  TEST_CASE("Resolver.resolve: C8: a name that does not exist is an IOError that names it") {
    test::Loop loop;
    Resolver resolver;
    names.fail("an invalid domain", EAI_NONAME);
    CHECK_THROWS_AS(resolve(loop, resolver, "an invalid domain"), IOError);
    CHECK_THROWS_WITH_AS(resolve(loop, resolver, "an invalid domain"),
                         Contains("resolve \"an invalid domain\" (port 80): "), ResolverError);
    try {
      resolve(loop, resolver, "an invalid domain");
      FAIL("resolved");
    } catch (const ResolverError& error) {
      CHECK(error.code() == std::error_code(EAI_NONAME, netutil::resolver_category()));
    }
  }

  // Python: netutil_test._ResolverErrorTestMixin.test_future_interface_bad_host
  TEST_CASE("Resolver.resolve: an error arrives where the Future is awaited") {
    test::Loop loop;
    names.fail("an invalid domain", EAI_AGAIN);
    const bool failed = loop.run([]() -> Future<bool> {
      Resolver resolver;
      try {
        const Addresses addresses = co_await resolver.resolve("an invalid domain", 80, AF_UNSPEC);
      } catch (const IOError&) {
        co_return true;
      }
      co_return false;
    });
    CHECK(failed);
  }

  TEST_CASE("Resolver.resolve: where the system failed, the error is the system's") {
    test::Loop loop;
    Resolver resolver;
    const std::string name = fresh_name();
    names.fail(name, EAI_SYSTEM, EMFILE);
    try {
      resolve(loop, resolver, name);
      FAIL("resolved");
    } catch (const ResolverError& error) {
      CHECK(error.code() == std::error_code(EMFILE, std::system_category()));
    }
  }

  TEST_CASE("Resolver.resolve: C8: an IP address is done at once, and needs no thread") {
    test::Loop loop;
    Resolver resolver;
    const Future<Addresses> ipv4 = resolver.resolve("127.0.0.1", 80);
    REQUIRE(ipv4.done());
    CHECK(ipv4.result() == Addresses{Address("127.0.0.1", 80)});
    const Future<Addresses> ipv6 = resolver.resolve("::1", 65535, AF_INET6);
    REQUIRE(ipv6.done());
    CHECK(ipv6.result() == Addresses{Address("::1", 65535)});
    for (const pid_t thread : names.threads("127.0.0.1")) CHECK(thread == ::gettid());
    for (const pid_t thread : names.threads("::1")) CHECK(thread == ::gettid());
  }

  TEST_CASE("Resolver.resolve: an IP address of the other family is an error that names it") {
    test::Loop loop;
    Resolver resolver;
    const Future<Addresses> future = resolver.resolve("127.0.0.1", 80, AF_INET6);
    CHECK(future.done());
    CHECK_THROWS_WITH_AS(future.result(), Contains("resolve \"127.0.0.1\""), ResolverError);
  }

  TEST_CASE("Resolver.resolve: only the family that is asked for") {
    test::Loop loop;
    Resolver resolver;
    for (const Address& address : resolve(loop, resolver, "localhost", 80, AF_INET)) {
      CHECK(address.family() == AF_INET);
      CHECK(address.port() == 80);
    }
  }

  TEST_CASE("Resolver.resolve: no name, and a name with a NUL byte, are errors") {
    test::Loop loop;
    Resolver resolver;
    CHECK_THROWS_WITH_AS(resolve(loop, resolver, ""), Contains("resolve \"\""), ResolverError);
    CHECK_THROWS_WITH_AS(resolve(loop, resolver, "localhost\0.test"s), Contains(".test"),
                         ResolverError);
  }

  TEST_CASE("Resolver.resolve: C8: one that hangs delays neither the loop nor the others") {
    test::Loop loop;
    const BusyThreads busy(3);
    const std::string name = fresh_name();
    names.set(name, "127.0.0.7");
    Resolver resolver;
    bool timer_ran = false;
    loop.call_later(1ms, [&] { timer_ran = true; });
    CHECK(resolve(loop, resolver, name) == Addresses{Address("127.0.0.7", 80)});
    loop.run([] { return gen::sleep(2ms); });
    CHECK(timer_ran);
    for (std::size_t i = 0; i < 3; ++i) CHECK_FALSE(busy.future(i).done());
  }

  TEST_CASE("Resolver.resolve: one lookup more than there are threads waits for its turn") {
    test::Loop loop;
    const std::string first = fresh_name();
    const std::string second = fresh_name();
    names.set(first, "127.0.0.8");
    names.set(second, "127.0.0.9");
    Resolver resolver;
    std::optional<BusyThreads> busy(std::in_place);
    const Future<Addresses> waits = resolver.resolve(first, 80);
    const Future<Addresses> waits_longer = resolver.resolve(second, 80);
    CHECK(names.asked(first) == 0);

    names.set(busy->name(2), "127.0.0.3");
    CHECK(loop.run([&] { return waits; }) == Addresses{Address("127.0.0.8", 80)});
    CHECK(loop.run([&] { return waits_longer; }) == Addresses{Address("127.0.0.9", 80)});
    CHECK(busy->future(2).result() == Addresses{Address("127.0.0.3", 80)});
    CHECK_FALSE(busy->future(0).done());
    CHECK(names.threads(first) == names.threads(second));  // the one that was released
    CHECK(names.threads(first) == names.threads(busy->name(2)));

    busy.reset();
  }

  TEST_CASE("Resolver.resolve: many at once") {
    test::Loop loop;
    std::vector<Future<Addresses>> futures;
    Resolver resolver;
    for (int i = 0; i < 100; ++i) futures.push_back(resolver.resolve("localhost", 80));
    const auto results = loop.run([&] { return gen::multi(futures); });
    CHECK(results.size() == 100);
    for (const Addresses& addresses : results) {
      CHECK(contains(addresses, Address("127.0.0.1", 80)));
    }
  }

  TEST_CASE("Resolver.resolve: cancelling abandons a lookup that hangs, whatever it ends with") {
    test::Loop loop;
    Resolver resolver;
    for (const bool fails : {false, true}) {
      const std::string name = fresh_name();
      names.hold(name);
      const Future<Addresses> future = resolver.resolve(name, 80);
      names.wait_until_asked(name);
      CHECK(future.cancel());
      CHECK_THROWS_AS(loop.run([&] { return future; }), CancelledError);

      // The answer comes to nobody, and nothing is logged.
      fails ? names.fail(name, EAI_AGAIN) : names.set(name, "127.0.0.1");
      const std::string other = fresh_name();
      names.set(other, "127.0.0.1");
      resolve(loop, resolver, other);
      loop.iterate(2);
    }
  }

  TEST_CASE("Resolver.resolve: cancelling a lookup that no thread has begun takes it back") {
    test::Loop loop;
    Resolver resolver;
    const std::string name = fresh_name();
    const std::string later = fresh_name();
    names.set(name, "127.0.0.1");
    names.set(later, "127.0.0.1");
    Future<Addresses> future;
    {
      const BusyThreads busy;
      future = resolver.resolve(name, 80);
      future.cancel();
      CHECK_THROWS_AS(loop.run([&] { return future; }), CancelledError);
    }
    resolve(loop, resolver, later);
    CHECK(names.asked(name) == 0);
    loop.iterate(2);
  }

  TEST_CASE("Resolver.resolve: with_timeout, and the lookup goes on meanwhile") {
    test::Loop loop;
    Resolver resolver;
    const std::string name = fresh_name();
    names.hold(name);
    const Future<Addresses> future = resolver.resolve(name, 80);
    CHECK_THROWS_AS(loop.run([&] { return gen::with_timeout(1ms, future); }), TimeoutError);
    names.set(name, "127.0.0.6");
    CHECK(loop.run([&] { return future; }) == Addresses{Address("127.0.0.6", 80)});
  }

  TEST_CASE("Resolver.resolve: goes on without the Resolver") {
    test::Loop loop;
    const std::string name = fresh_name();
    names.hold(name);
    auto resolver = std::make_unique<Resolver>();
    const Future<Addresses> future = resolver->resolve(name, 80);
    resolver.reset();
    names.set(name, "127.0.0.5");
    CHECK(loop.run([&] { return future; }) == Addresses{Address("127.0.0.5", 80)});
  }

  TEST_CASE("Resolver.resolve: the loop closes without waiting for a lookup") {
    for (const bool begun : {true, false}) {
      CAPTURE(begun);
      const std::string name = fresh_name();
      names.hold(name);
      std::optional<test::Loop> loop(std::in_place);
      std::optional<BusyThreads> busy;
      if (!begun) busy.emplace();
      const Future<Addresses> future = Resolver().resolve(name, 80);
      if (begun) names.wait_until_asked(name);
      loop.reset();
      CHECK(future.cancelled());
      names.fail(name, EAI_AGAIN);  // nobody is told
    }
  }

  TEST_CASE("Resolver.resolve: loops of several threads share the threads") {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        test::Loop loop;
        Resolver resolver;
        for (int j = 0; j < 25; ++j) {
          CHECK(contains(resolve(loop, resolver, "localhost"), Address("127.0.0.1", 80)));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::set<pid_t> seen;
    for (const pid_t thread : names.threads("localhost")) seen.insert(thread);
    seen.erase(::gettid());
    CHECK(seen.size() >= 1);
  }

  TEST_CASE("Resolver: its threads leave signals to the program, whose mask stays as it is") {
    test::Loop loop;
    Resolver resolver;
    const std::string name = fresh_name();
    names.set(name, "127.0.0.1");
    sigset_t before;
    sigset_t after;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
    resolve(loop, resolver, name);
    ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
    CHECK(names.signals_were_blocked());
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
      CHECK(::sigismember(&before, signal) == ::sigismember(&after, signal));
    }
  }

  TEST_CASE("Resolver: at most 4 threads, which end when there is nothing to do") {
    test::Loop loop;
    std::set<pid_t> threads;
    {
      const BusyThreads busy;
      for (std::size_t i = 0; i < 4; ++i) threads.insert(names.threads(busy.name(i)).front());
      const std::string name = fresh_name();
      names.set(name, "127.0.0.1");
      const Future<Addresses> fifth = Resolver().resolve(name, 80);
      loop.run([] { return gen::sleep(10ms); });
      CHECK(names.asked(name) == 0);
    }
    CHECK(threads.size() == 4);
    CHECK_FALSE(threads.contains(::gettid()));
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (std::any_of(threads.begin(), threads.end(), thread_exists)) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      std::this_thread::sleep_for(10ms);
    }
    Resolver resolver;
    CHECK(contains(resolve(loop, resolver, "localhost"), Address("127.0.0.1", 80)));
  }

  TEST_CASE("Resolver: the program ends while a lookup hangs") {
    if (std::getenv("TORNADO_TEST_CHILD") == nullptr) {
      CHECK(run_again("Resolver: the program ends while a lookup hangs") == 0);
      return;
    }
    // In the child: one hangs, one waits behind others that hang, and this thread's loop is left to
    // the end of the program.
    static const BusyThreads& busy = *new BusyThreads;
    const std::string name = fresh_name();
    names.set(name, "127.0.0.1");
    static const Future<Addresses> future = Resolver().resolve(name, 80);
    CHECK_FALSE(busy.future(0).done());
    CHECK_FALSE(future.done());
  }

  TEST_CASE("Resolver.resolve: when no thread can be had, that is an error that names the host") {
    if (test::sanitized) return;  // a sanitizer needs all the memory there is
    const test::Child child = test::run_in_child([] {
      test::Loop loop;
      Resolver resolver;
      // Stacks for which there is no room.
      pthread_attr_t large;
      ::pthread_attr_init(&large);
      ::pthread_attr_setstacksize(&large, 1U << 30);
      ::pthread_setattr_default_np(&large);
      const rlimit limit{1U << 30, 1U << 30};
      ::setrlimit(RLIMIT_AS, &limit);
      try {
        resolve(loop, resolver, "localhost");
      } catch (const ResolverError& error) {
        if (error.code() == std::errc::resource_unavailable_try_again &&
            std::string(error.what()).find("\"localhost\"") != std::string::npos) {
          return;
        }
      }
      std::abort();
    });
    CHECK_MESSAGE(child.succeeded(), child.text);
  }

  // Python: netutil_test.OverrideResolverTest.test_resolve_multiaddr
  TEST_CASE("OverrideResolver.resolve: one name, an address for each family") {
    test::Loop loop;
    OverrideResolver resolver(
        std::make_shared<Resolver>(),
        {
            {{"google.com", 80}, {"1.2.3.4", 80}},
            {{"google.com", 80, AF_INET}, {"1.2.3.4", 80}},
            {{"google.com", 80, AF_INET6}, {"2a02:6b8:7c:40c:c51e:495f:e23a:3", 80}},
        });
    CHECK(contains(resolve(loop, resolver, "google.com", 80, AF_INET), Address("1.2.3.4", 80)));
    CHECK(contains(resolve(loop, resolver, "google.com", 80, AF_INET6),
                   Address("2a02:6b8:7c:40c:c51e:495f:e23a:3", 80)));
    CHECK(contains(resolve(loop, resolver, "localhost"), Address("127.0.0.1", 80)));
  }

  TEST_CASE("OverrideResolver.resolve: C9: host, port and family before host and port, then host") {
    test::Loop loop;
    OverrideResolver resolver(std::make_shared<Resolver>(),
                              {
                                  {"one.test", "127.0.0.1"},
                                  {{"one.test", 443}, {"127.0.0.2", 1443}},
                                  {{"one.test", 443, AF_INET}, {"127.0.0.3", 2443}},
                              });
    CHECK(resolve(loop, resolver, "one.test", 443, AF_INET) ==
          Addresses{Address("127.0.0.3", 2443)});
    CHECK(resolve(loop, resolver, "one.test", 443) == Addresses{Address("127.0.0.2", 1443)});
    CHECK(resolve(loop, resolver, "one.test", 80, AF_INET) == Addresses{Address("127.0.0.1", 80)});
    CHECK(resolve(loop, resolver, "one.test", 80) == Addresses{Address("127.0.0.1", 80)});
  }

  TEST_CASE("OverrideResolver.resolve: the rest is asked of the other, which may be anything") {
    /// Remembers what it was asked.
    class Recorder : public Resolver {
     public:
      Future<Addresses> resolve(std::string host, std::uint16_t port, int family) override {
        asked.push_back(host + " " + std::to_string(port) + " " + std::to_string(family));
        co_await gen::moment;
        co_return Addresses{Address("127.0.0.1", port)};
      }
      std::vector<std::string> asked;
    };
    test::Loop loop;
    const auto recorder = std::make_shared<Recorder>();
    OverrideResolver resolver(recorder, {
                                            {"old.test", "new.test"},
                                            {{"old.test", 1}, {"new.test", 2, 3}},
                                        });
    CHECK(resolve(loop, resolver, "other.test", 4, 5) == Addresses{Address("127.0.0.1", 4)});
    CHECK(resolve(loop, resolver, "old.test", 6, 7) == Addresses{Address("127.0.0.1", 6)});
    CHECK(resolve(loop, resolver, "old.test", 1, 7) == Addresses{Address("127.0.0.1", 2)});
    CHECK(recorder->asked == std::vector{"other.test 4 5"s, "new.test 6 7"s, "new.test 2 3"s});
  }

  TEST_CASE("OverrideResolver: needs another") {
    CHECK_THROWS_AS(OverrideResolver(nullptr, {}), std::invalid_argument);
  }
}
