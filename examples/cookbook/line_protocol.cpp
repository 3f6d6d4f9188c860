// SPDX-License-Identifier: Apache-2.0
//
// A protocol of lines that nobody can use to fill memory, or to hold a connection for nothing;
// docs/cookbook.md quotes it.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <system_error>

using namespace std::chrono_literals;
using namespace tornado;

/// SET NAME VALUE, GET NAME, QUIT.
class Store : public TCPServer {
 public:
  explicit Store(std::chrono::milliseconds patience) : patience_(patience) {}
  ~Store() override { close_all_connections(); }  // whose coroutines use the members

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    try {
      for (;;) {
        // A line ends within 1000 bytes, or the stream is closed; and in time.
        const Future<std::string> line = stream.read_until("\r\n", 1000);
        const std::string text = co_await gen::with_timeout(patience_, line);
        if (text == "QUIT\r\n") break;
        stream.write(answer(std::string_view(text).substr(0, text.size() - 2)));
        co_await stream.drain();  // one who asks and does not read gets nothing more
      }
      co_await stream.write("bye\r\n");
    } catch (const TimeoutError&) {
      stream.close();  // the read is pending still
    } catch (const StreamClosedError& error) {
      if (error.real_error() == StreamErrc::unsatisfiable_read) fmt::print("line too long\n");
    }
  }

  std::string answer(std::string_view line) {
    const std::size_t space = line.find(' ');
    const std::string_view rest = line.substr(space == line.npos ? line.size() : space + 1);
    if (line.starts_with("GET ")) return values_[std::string(rest)] + "\r\n";
    const std::size_t second = rest.find(' ');
    if (!line.starts_with("SET ") || second == rest.npos) return "what?\r\n";
    values_[std::string(rest.substr(0, second))] = rest.substr(second + 1);
    return "ok\r\n";
  }

  std::chrono::milliseconds patience_;
  std::map<std::string, std::string> values_;
};

Future<std::string> tell(Address address, std::string what) {
  IOStream stream = co_await TCPClient().connect("127.0.0.1", address.port());
  stream.write(what);
  co_return co_await stream.read_until_close();
}

Future<void> converse() {
  Store store(200ms);
  store.listen(0, "127.0.0.1");
  const Address address = store.addresses().front();
  const std::string answers =
      co_await tell(address, "SET color blue\r\nGET color\r\nGIVE color\r\nQUIT\r\n");
  fmt::print("{}", answers);
  const std::string too_long = co_await tell(address, std::string(1001, '.'));
  const std::string too_slow = co_await tell(address, "GET col");
  fmt::print("{} {}\n", too_long.size(), too_slow.size());
}

int main() { IOLoop::current().run_sync(converse); }
