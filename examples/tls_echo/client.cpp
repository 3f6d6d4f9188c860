// SPDX-License-Identifier: Apache-2.0
//
// Sends a line to tls_echo_server, whose certificate it verifies.
#include "../arguments.hpp"
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

using namespace tornado;

constexpr std::string_view help = R"(Usage: tls_echo_client [OPTION...]

Sends a line to tls_echo_server and prints the answer.

  --host HOST       where the server is; its certificate has to be for that (default localhost)
  --port N          its port (default 8443)
  --ca-certs FILE   who may have signed its certificate (PEM); without it, those that the system
                    trusts
  --message TEXT    what to send (default ping)
  --help            this text
)";

Future<void> send_message(std::string host, std::uint16_t port, SSLContext context,
                          std::string message) {
  SSLIOStream stream = co_await TCPClient().connect(host, port, context);
  fmt::print("{} with {}\n", stream.version(), stream.peer_certificate()->subject);
  co_await stream.write(message + "\n");
  const std::string reply = co_await stream.read_until("\n");
  fmt::print("Response from server: {}", reply);
}

Future<void> expect_refusal(std::uint16_t port) {
  try {
    co_await TCPClient().connect("127.0.0.1", port, SSLContext());
  } catch (const StreamClosedError& error) {
    const std::error_code why = error.real_error();
    fmt::print("With the system's authorities: {}\n",
               why.category() == ssl_verify_category() ? "not verified" : why.message());
  }
}

int main(int argc, char** argv) {
  try {
    Arguments arguments(argc, argv);
    if (arguments.flag("--help")) {
      fmt::print("{}", help);
      return 0;
    }
    const std::string host = arguments.text("--host", "localhost");
    const auto port = arguments.number<std::uint16_t>("--port", 8443, 1, 65535);
    const std::string ca_certs = arguments.text("--ca-certs", "");
    const std::string message = arguments.text("--message", "ping");
    arguments.done();

    SSLContext context = SSLContext::client();
    if (!ca_certs.empty()) context.load_verify_locations(ca_certs);
    IOLoop::current().run_sync([&] { return send_message(host, port, context, message); });
    if (!ca_certs.empty()) IOLoop::current().run_sync([&] { return expect_refusal(port); });
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "tls_echo_client: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tls_echo_client: {}\n", error.what());
    return 1;
  }
}
