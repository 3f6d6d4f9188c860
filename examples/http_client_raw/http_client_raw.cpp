// SPDX-License-Identifier: Apache-2.0
//
// A very simple and incomplete HTTP client, after the example in the documentation of Tornado's
// IOStream (Copyright the Tornado Authors, Apache-2.0).
#include "../arguments.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

using namespace tornado;

constexpr std::string_view help = R"(Usage: http_client_raw [OPTION...]

Gets a page and prints its body.

  --host HOST   (default 127.0.0.1)
  --port N      (default 80)
  --path PATH   (default /)
  --help        this text
)";

/// Without the white space around it, and in small letters where `small`.
std::string strip(std::string_view text, bool small = false) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  std::string result(text.substr(first, text.find_last_not_of(" \t") - first + 1));
  if (!small) return result;
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::map<std::string, std::string> parse(std::string_view header) {
  std::map<std::string, std::string> fields;
  for (std::size_t end; (end = header.find("\r\n")) > 0; header.remove_prefix(end + 2)) {
    const std::string_view line = header.substr(0, end);
    const std::size_t colon = line.find(':');
    if (colon != line.npos)
      fields[strip(line.substr(0, colon), true)] = strip(line.substr(colon + 1));
  }
  return fields;
}

Future<void> get(std::string host, std::uint16_t port, std::string path) {
  IOStream stream = co_await TCPClient().connect(host, port);
  co_await stream.write(fmt::format("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", path, host));
  const std::string status = co_await stream.read_until("\r\n", 1000);
  const std::string header = co_await stream.read_until("\r\n\r\n", 65536);
  const auto fields = parse(header);
  const std::string body = co_await stream.read_bytes(std::stoul(fields.at("content-length")));
  fmt::print("{}{}", status, body);
  stream.close();
}

int main(int argc, char** argv) {
  try {
    Arguments arguments(argc, argv);
    if (arguments.flag("--help")) {
      fmt::print("{}", help);
      return 0;
    }
    const std::string host = arguments.text("--host", "127.0.0.1");
    const auto port = arguments.number<std::uint16_t>("--port", 80, 1, 65535);
    const std::string path = arguments.text("--path", "/");
    arguments.done();

    IOLoop::current().run_sync([&] { return get(host, port, path); });
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "http_client_raw: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "http_client_raw: {}\n", error.what());
    return 1;
  }
}
