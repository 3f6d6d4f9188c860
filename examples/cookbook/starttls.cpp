// SPDX-License-Identifier: Apache-2.0
//
// A conversation that begins in the clear and goes on encrypted, as in SMTP; docs/cookbook.md
// quotes it. Arguments: the server's certificate and its key.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>

using namespace tornado;

class MailServer : public TCPServer {
 public:
  explicit MailServer(SSLContext context) : context_(std::move(context)) {}
  ~MailServer() override { close_all_connections(); }  // whose coroutines use context_

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    try {
      co_await serve(stream);
    } catch (const StreamClosedError&) {
    } catch (const std::logic_error&) {
      // Somebody has sent more behind STARTTLS, to be taken for what comes encrypted.
      stream.close();
    }
  }

  Future<void> serve(IOStream stream) {
    bool encrypted = false;
    stream.write("220 ready\r\n");
    for (;;) {
      const std::string line = co_await stream.read_until("\r\n", 512);
      if (line == "QUIT\r\n") break;
      if (line == "STARTTLS\r\n" && !encrypted) {
        stream.write("220 go ahead\r\n");  // leaves before what is encrypted
        co_await stream.start_tls(ServerSide::yes, context_);
        encrypted = true;
      } else {
        stream.write(encrypted ? "250 ok\r\n" : "530 STARTTLS first\r\n");
      }
    }
    co_await stream.write("221 bye\r\n");
  }

  SSLContext context_;
};

Future<std::string> ask(IOStream stream, std::string command) {
  stream.write(command + "\r\n");
  return stream.read_until("\r\n", 512);
}

Future<void> send_mail(std::uint16_t port, SSLContext context) {
  IOStream stream = co_await TCPClient().connect("localhost", port);
  std::string answer = co_await stream.read_until("\r\n", 512);
  for (const char* command : {"MAIL", "STARTTLS"}) {
    answer = co_await ask(stream, command);
    fmt::print("{}: {}", command, answer);
  }
  co_await stream.start_tls(ServerSide::no, context, "localhost");
  for (const char* command : {"MAIL", "QUIT"}) {
    answer = co_await ask(stream, command);
    fmt::print("{}: {}", command, answer);
  }
}

/// One who pretends that the client has said something under encryption.
Future<void> inject(std::uint16_t port) {
  IOStream stream = co_await TCPClient().connect("localhost", port);
  stream.write("STARTTLS\r\nMAIL\r\n");
  const std::string all = co_await stream.read_until_close();
  fmt::print("{} bytes, and it is closed\n", all.size());
}

int main(int, char** argv) {
  SSLContext for_server = SSLContext::server();
  for_server.load_cert_chain(argv[1], argv[2]);
  MailServer server(for_server);
  server.listen(0, "localhost");
  const std::uint16_t port = server.addresses().front().port();
  SSLContext for_client = SSLContext::client();
  for_client.load_verify_locations(argv[1]);
  IOLoop::current().run_sync([&] { return send_mail(port, for_client); });
  IOLoop::current().run_sync([&] { return inject(port); });
}
