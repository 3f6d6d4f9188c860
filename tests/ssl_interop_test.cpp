// SPDX-License-Identifier: Apache-2.0
//
// SSLIOStream with other programs at the other end: `openssl s_client`, `openssl s_server`, `curl`.
#include "server_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tornado;
using test::result;
using test::TemporaryFile;

namespace {

/// A program, with a stream to its standard input and output.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    process_ = ::fork();
    REQUIRE(process_ >= 0);
    if (process_ == 0) {
      ::dup2(ends[1], STDIN_FILENO);
      ::dup2(ends[1], STDOUT_FILENO);
      ::dup2(ends[1], STDERR_FILENO);
      ::alarm(30);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    stream = IOStream(Socket(ends[0]));
  }
  ~Program() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  /// Its exit status; it has ended, or is about to.
  int wait() {
    int status = -1;
    ::waitpid(std::exchange(process_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  IOStream stream;

 private:
  pid_t process_ = -1;
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

const TemporaryFile& ca_file() {
  static const TemporaryFile file(test::authority().certificate());
  return file;
}
const TemporaryFile& server_file() {
  static const TemporaryFile file(test::server_pem().certificate + test::server_pem().key);
  return file;
}
const TemporaryFile& client_file() {
  static const TemporaryFile file = [] {
    test::CertificateRequest request;
    request.common_name = "a client";
    request.for_client = true;
    const test::Pem pem = test::authority().issue(request);
    return TemporaryFile(pem.certificate + pem.key);
  }();
  return file;
}

// An HTTP server that knows one answer, and remembers whom it gave it to.
class HelloServer : public TCPServer {
 public:
  explicit HelloServer(const SSLContext& context = test::server_context()) : TCPServer(context) {
    listen(0, "127.0.0.1");
  }
  ~HelloServer() override { close_all_connections(); }
  std::string port() const { return std::to_string(addresses().front().port()); }
  std::vector<SSLIOStream> streams;
  std::string body = "Hello";

 private:
  Future<void> handle_stream(IOStream stream, Address) override {
    streams.emplace_back(stream);
    try {
      for (;;) {
        co_await stream.read_until("\r\n\r\n");
        const std::string head =
            "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
        co_await stream.write(head + body);
      }
    } catch (const StreamClosedError&) {
    }
  }
};

std::vector<std::string> s_client(const HelloServer& server, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"openssl",
                                        "s_client",
                                        "-connect",
                                        "127.0.0.1:" + server.port(),
                                        "-CAfile",
                                        ca_file().path(),
                                        "-verify_hostname",
                                        "localhost",
                                        "-servername",
                                        "localhost",
                                        "-verify_return_error"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// `openssl s_server`, and where it listens.
class OpenSSLServer {
 public:
  OpenSSLServer(test::Loop& loop, std::vector<std::string> more) : port(free_port()) {
    std::vector<std::string> arguments = {"openssl", "s_server",
                                          "-accept", "127.0.0.1:" + std::to_string(port),
                                          "-cert",   server_file().path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    program.emplace(std::move(arguments));
    result(loop, program->stream.read_until("ACCEPT"));
  }
  Address address() const { return Address("127.0.0.1", port); }
  std::uint16_t port;
  std::optional<Program> program;

 private:
  static std::uint16_t free_port() { return test::bind_unused_port().second; }
};

}  // namespace

TEST_SUITE("ssl") {
  TEST_CASE("SSLIOStream: a server for openssl s_client, TLS 1.2 and 1.3") {
    for (const std::string version : {"TLSv1.2", "TLSv1.3"}) {
      CAPTURE(version);
      test::Loop loop;
      HelloServer server;
      Program client(s_client(server, {version == "TLSv1.2" ? "-tls1_2" : "-tls1_3"}));
      const std::string summary = result(loop, client.stream.read_until("Verify return code"));
      CHECK(contains(summary, "New, " + version));
      CHECK(contains(result(loop, client.stream.read_until(")")), "0 (ok)"));
      client.stream.write("GET / HTTP/1.0\r\n\r\n");
      CHECK(contains(result(loop, client.stream.read_until("Hello")), "HTTP/1.1 200 OK"));
      // An end in order, which it says: it ends with 0 only then.
      server.streams.at(0).close();
      CHECK(contains(result(loop, client.stream.read_until_close()), "closed"));
      CHECK(client.wait() == 0);
      CHECK(server.streams.at(0).version() == version);
    }
  }

  TEST_CASE("SSLIOStream: a server for openssl s_client, which ends the connection") {
    test::Loop loop;
    HelloServer server;
    Program client(s_client(server));
    result(loop, client.stream.read_until("(ok)"));
    client.stream.write("Q\n");
    test::wait_until(loop, [&] { return server.streams.at(0).closed(); });
    CHECK_FALSE(server.streams.at(0).error());
    CHECK(client.wait() == 0);
  }

  TEST_CASE("SSLIOStream: a server for openssl s_client, with ALPN and a client certificate") {
    test::Loop loop;
    SSLContext context = test::server_context();
    context.load_verify_locations(ca_file().path());
    context.set_verify_mode(CertReqs::required);
    context.set_alpn_protocols({"http/1.1"});
    HelloServer server(context);
    Program client(s_client(server, {"-alpn", "h2,http/1.1", "-cert", client_file().path()}));
    CHECK(contains(result(loop, client.stream.read_until("(ok)")), "ALPN protocol: http/1.1"));
    client.stream.write("GET / HTTP/1.0\r\n\r\n");
    result(loop, client.stream.read_until("Hello"));
    CHECK(server.streams.at(0).selected_alpn_protocol() == "http/1.1");
    CHECK(server.streams.at(0).server_name() == "localhost");
    CHECK(server.streams.at(0).peer_certificate().value().subject == "CN=a client");
  }

  TEST_CASE("SSLIOStream: a server for openssl s_client, which resumes its session") {
    for (const std::string version : {"-tls1_2", "-tls1_3"}) {
      CAPTURE(version);
      test::Loop loop;
      HelloServer server;
      const TemporaryFile session("");
      {
        Program client(s_client(server, {version, "-sess_out", session.path()}));
        result(loop, client.stream.read_until("(ok)"));
        client.stream.write("GET / HTTP/1.0\r\n\r\n");
        result(loop, client.stream.read_until("Hello"));
        client.stream.write("Q\n");
        result(loop, client.stream.read_until_close());
        CHECK(client.wait() == 0);
      }
      Program client(s_client(server, {version, "-sess_in", session.path()}));
      CHECK(contains(result(loop, client.stream.read_until("(ok)")), "Reused, TLSv1."));
      // The client of TLS 1.3 is content before the server has its last message.
      test::wait_until(loop, [&] { return server.streams.size() == 2; });
      test::wait_until(loop, [&] { return !server.streams.at(1).version().empty(); });
      CHECK(server.streams.at(1).session_reused());
    }
  }

  TEST_CASE("SSLIOStream: a client of openssl s_server, TLS 1.2 and 1.3") {
    for (const std::string version : {"-tls1_2", "-tls1_3"}) {
      CAPTURE(version);
      test::Loop loop;
      OpenSSLServer server(loop, {version, "-www", "-alpn", "http/1.1"});
      SSLContext context = test::client_context();
      context.set_alpn_protocols({"h2", "http/1.1"});
      const SSLIOStream client(Socket::tcp(AF_INET), context);
      result(loop, client.connect(server.address(), "localhost"));
      CHECK(client.selected_alpn_protocol() == "http/1.1");
      client.write("GET / HTTP/1.0\r\n\r\n");
      const std::string page = result(loop, client.read_until("</HTML>"));
      CHECK(contains(page, "HTTP/1.0 200 ok"));
      const SSLSession session = client.session();
      CHECK(session);
      client.close();

      const SSLIOStream again(Socket::tcp(AF_INET), context);
      result(loop, again.connect(server.address(), "localhost", session));
      CHECK(again.session_reused());
    }
  }

  TEST_CASE("SSLIOStream: a client of openssl s_server, with a client certificate") {
    test::Loop loop;
    OpenSSLServer server(
        loop, {"-Verify", "1", "-CAfile", ca_file().path(), "-verify_return_error", "-rev"});
    SSLContext context = test::client_context();
    context.load_cert_chain(client_file().path());
    const SSLIOStream client(Socket::tcp(AF_INET), context);
    result(loop, client.connect(server.address(), "foo.example.com"));
    client.write("hello\n");
    CHECK(result(loop, client.read_until("\n")) == "olleh\n");
  }

  TEST_CASE("SSLIOStream: a client of openssl s_server, which is killed") {
    test::Loop loop;
    OpenSSLServer server(loop, {"-rev"});
    const SSLIOStream client(Socket::tcp(AF_INET), test::client_context());
    result(loop, client.connect(server.address(), "localhost"));
    client.write("hello\n");
    CHECK(result(loop, client.read_until("\n")) == "olleh\n");
    server.program.reset();
    CHECK(test::why_closed(loop, client.read_until("\n")) == StreamErrc::truncated);
  }

  TEST_CASE("SSLIOStream: a server for curl, with several requests and a large answer") {
    for (const std::string version : {"1.2", "1.3"}) {
      CAPTURE(version);
      test::Loop loop;
      HelloServer server;
      server.body = std::string(3'000'000, 'x');
      const std::string url = "https://localhost:" + server.port() + "/";
      Program curl({"curl", "--silent", "--show-error", "--cacert", ca_file().path(),
                    "--tlsv" + version, "--tls-max", version, "--resolve",
                    "localhost:" + server.port() + ":127.0.0.1", "--noproxy", "*", url, url});
      const std::string answer = result(loop, curl.stream.read_until_close());
      CHECK(answer.size() == 6'000'000);
      CHECK(curl.wait() == 0);
      CHECK(server.streams.size() == 1);
      CHECK(server.streams.at(0).version() == "TLSv" + version);
    }
  }

  TEST_CASE("SSLIOStream: curl does not believe a server of another name") {
    test::Loop loop;
    HelloServer server;
    Program curl({"curl", "--silent", "--cacert", ca_file().path(), "--resolve",
                  "other:" + server.port() + ":127.0.0.1", "--noproxy", "*",
                  "https://other:" + server.port() + "/"});
    result(loop, curl.stream.read_until_close());
    CHECK(curl.wait() == 60);
    test::wait_until(loop, [&] { return server.streams.at(0).closed(); });
  }
}
