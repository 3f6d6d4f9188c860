// SPDX-License-Identifier: Apache-2.0
//
// util::Configurable, and the version.
#include "support.hpp"
#include "tornado/util.hpp"
#include "tornado/version.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace tornado;

namespace {

// Python's keyword arguments.
struct Options {
  std::optional<int> pos_arg = {};
  std::optional<int> a = {};
  std::optional<int> b = {};
};

class TestConfigurable : public util::Configurable<TestConfigurable, const Options&> {
 public:
  virtual ~TestConfigurable() = default;
  static std::string_view configurable_default() { return "TestConfig1"; }
};

struct TestConfig1 : TestConfigurable {
  explicit TestConfig1(const Options& options = {}) : a(options.a), pos_arg(options.pos_arg) {}
  std::optional<int> a;
  std::optional<int> pos_arg;
};

struct TestConfig2 : TestConfigurable {
  explicit TestConfig2(const Options& options = {}) : b(options.b), pos_arg(options.pos_arg) {}
  std::optional<int> b;
  std::optional<int> pos_arg;
};

// Can be configured itself.
class TestConfig3 : public TestConfigurable,
                    public util::Configurable<TestConfig3, const Options&> {
 public:
  using Inner = util::Configurable<TestConfig3, const Options&>;
  static std::string_view configurable_default() { return "TestConfig3A"; }
};

struct TestConfig3A : TestConfig3 {
  explicit TestConfig3A(const Options& options = {}) : a(options.a) {}
  std::optional<int> a;
};

struct TestConfig3B : TestConfig3 {
  explicit TestConfig3B(const Options& options = {}) : b(options.b) {}
  std::optional<int> b;
};

using Outer = util::Configurable<TestConfigurable, const Options&>;
using Inner = TestConfig3::Inner;

// setUp and tearDown.
class ConfigurableTest {
 public:
  ConfigurableTest() {
    Outer::register_implementation<TestConfig1>("TestConfig1");
    Outer::register_implementation<TestConfig2>("TestConfig2");
    Outer::register_implementation("TestConfig3",
                                   [](const Options& options) { return Inner::create(options); });
    Inner::register_implementation<TestConfig3A>("TestConfig3A");
    Inner::register_implementation<TestConfig3B>("TestConfig3B");
  }
  ~ConfigurableTest() {
    Outer::restore_configuration(saved_);
    Inner::restore_configuration(saved3_);
  }
  ConfigurableTest(const ConfigurableTest&) = delete;
  ConfigurableTest& operator=(const ConfigurableTest&) = delete;

  static void check_subclasses() {
    CHECK(TestConfig1({.a = 1}).a == 1);
    CHECK(TestConfig2({.b = 2}).b == 2);
    // What `configure` binds is not for those who name the class.
    CHECK_FALSE(TestConfig1().a.has_value());
    CHECK_FALSE(TestConfig2().b.has_value());
  }

 private:
  Outer::Configuration saved_ = Outer::save_configuration();
  Inner::Configuration saved3_ = Inner::save_configuration();
};

// The object that is made now, if it is a T.
template <class T>
std::unique_ptr<T> made(const Options& options = {}) {
  std::unique_ptr<TestConfigurable> object = Outer::create(options);
  T* typed = dynamic_cast<T*>(object.get());
  REQUIRE(typed != nullptr);
  static_cast<void>(object.release());
  return std::unique_ptr<T>(typed);
}

}  // namespace

TEST_SUITE("util") {
  // Python: util_test.ConfigurableTest.test_default
  TEST_CASE("Configurable.create: without configure it makes the default") {
    const ConfigurableTest setup;
    CHECK(Outer::configured_class() == "TestConfig1");
    CHECK_FALSE(made<TestConfig1>()->a.has_value());
    CHECK(made<TestConfig1>({.a = 1})->a == 1);
    setup.check_subclasses();
  }

  // Python: util_test.ConfigurableTest.test_config_class
  TEST_CASE("Configurable.configure: with a factory, which need not be registered") {
    const ConfigurableTest setup;
    Outer::configure("mine",
                     [](const Options& options) { return std::make_unique<TestConfig2>(options); });
    CHECK(Outer::configured_class() == "mine");
    CHECK_FALSE(made<TestConfig2>()->b.has_value());
    CHECK(made<TestConfig2>({.b = 2})->b == 2);
    setup.check_subclasses();
    Outer::configure(nullptr);
    CHECK(Outer::configured_class() == "TestConfig1");
    made<TestConfig1>();
    CHECK_THROWS_AS(Outer::configure("none", Outer::Factory()), std::invalid_argument);
  }

  // Python: util_test.ConfigurableTest.test_config_str
  TEST_CASE("Configurable.configure: by the name that was registered") {
    const ConfigurableTest setup;
    Outer::configure("TestConfig2");
    CHECK(Outer::configured_class() == "TestConfig2");
    CHECK_FALSE(made<TestConfig2>()->b.has_value());
    CHECK(made<TestConfig2>({.b = 2})->b == 2);
    setup.check_subclasses();
    CHECK_THROWS_WITH_AS(Outer::configure("TestConfig4"),
                         "configure: there is no implementation \"TestConfig4\"; there is: "
                         "TestConfig1, TestConfig2, TestConfig3",
                         std::invalid_argument);
    CHECK(Outer::configured_class() == "TestConfig2");
  }

  // Python: util_test.ConfigurableTest.test_config_args
  TEST_CASE("Configurable.configure: arguments for the default") {
    const ConfigurableTest setup;
    Outer::configure("TestConfig1", [](Options options) {
      options.a = options.a.value_or(3);
      return std::make_unique<TestConfig1>(options);
    });
    CHECK(made<TestConfig1>()->a == 3);
    const auto object = made<TestConfig1>({.pos_arg = 42, .a = 4});
    CHECK(object->a == 4);
    CHECK(object->pos_arg == 42);
    setup.check_subclasses();
  }

  // Python: util_test.ConfigurableTest.test_config_class_args
  TEST_CASE("Configurable.configure: arguments for another implementation") {
    const ConfigurableTest setup;
    Outer::configure("TestConfig2", [](Options options) {
      options.b = options.b.value_or(5);
      return std::make_unique<TestConfig2>(options);
    });
    CHECK(made<TestConfig2>()->b == 5);
    const auto object = made<TestConfig2>({.pos_arg = 42, .b = 6});
    CHECK(object->b == 6);
    CHECK(object->pos_arg == 42);
    setup.check_subclasses();
  }

  // Python: util_test.ConfigurableTest.test_config_multi_level
  TEST_CASE("Configurable.configure: an implementation that is Configurable itself") {
    const ConfigurableTest setup;
    Outer::configure("TestConfig3", [](Options options) {
      options.a = 1;
      return Inner::create(options);
    });
    CHECK(made<TestConfig3A>()->a == 1);
    Outer::configure("TestConfig3");
    Inner::configure("TestConfig3B", [](Options options) {
      options.b = 2;
      return std::make_unique<TestConfig3B>(options);
    });
    CHECK(made<TestConfig3B>()->b == 2);
  }

  // Python: util_test.ConfigurableTest.test_config_inner_level
  TEST_CASE("Configurable.configure: the inner level by itself, the outer one apart from it") {
    const ConfigurableTest setup;
    CHECK(dynamic_cast<TestConfig3A*>(Inner::create({}).get()) != nullptr);
    Inner::configure("TestConfig3B");
    CHECK(dynamic_cast<TestConfig3B*>(Inner::create({}).get()) != nullptr);
    made<TestConfig1>();
    Outer::configure("TestConfig2");
    made<TestConfig2>();
    CHECK(dynamic_cast<TestConfig3B*>(Inner::create({}).get()) != nullptr);
  }

  TEST_CASE("Configurable.create: a default that nobody registered is an error that names it") {
    class Lonely : public util::Configurable<Lonely> {
     public:
      virtual ~Lonely() = default;
      static std::string_view configurable_default() { return "somewhere"; }
    };
    CHECK_THROWS_WITH_AS(Lonely::create(),
                         "create: there is no implementation \"somewhere\"; there is: none",
                         std::invalid_argument);
  }

  TEST_CASE("Configurable: configured and created by several threads") {
    const ConfigurableTest setup;
    std::atomic<int> objects{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 500; ++i) {
          if (i % 10 == t) Outer::configure(i % 20 < 10 ? "TestConfig1" : "TestConfig2");
          if (Outer::create({}) != nullptr) ++objects;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(objects == 2000);
  }

  // Python: util_test.VersionInfoTest.test_current_version
  TEST_CASE("version: in numbers and as text they are the same") {
    CHECK(version == std::to_string(TORNADO_VERSION_MAJOR) + "." +
                         std::to_string(TORNADO_VERSION_MINOR) + "." +
                         std::to_string(TORNADO_VERSION_PATCH));
    CHECK(version_info == std::array<int, 4>{TORNADO_VERSION_MAJOR, TORNADO_VERSION_MINOR,
                                             TORNADO_VERSION_PATCH, 0});
  }
}
