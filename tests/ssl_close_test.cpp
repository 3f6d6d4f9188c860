// SPDX-License-Identifier: Apache-2.0
//
// How TLS connections end: in order, cut off, by half; and what OpenSSL says on its own meanwhile.
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <openssl/ssl.h>

#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

using namespace tornado;
using test::client_context;
using test::make_tls_pair;
using test::mb;
using test::result;
using test::server_context;
using test::wait_until;
using test::why_closed;

namespace {

constexpr TLSVersion versions[] = {TLSVersion::TLSv1_2, TLSVersion::TLSv1_3};

std::pair<SSLIOStream, SSLIOStream> pair_of(TLSVersion version,
                                            const IOStreamOptions& options = {}) {
  SSLContext server = server_context();
  server.set_maximum_version(version);
  return make_tls_pair(options, server);
}

// Ends the connection below TLS.
void send_fin(const IOStream& stream) { ::shutdown(stream.fileno(), SHUT_WR); }
void send_reset(const IOStream& stream) {
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  REQUIRE(::connect(stream.fileno(), &nobody, sizeof nobody) == 0);
}

SSL* ssl_of(const SSLIOStream& stream) { return static_cast<SSL*>(stream.native_handle()); }

Future<std::uint64_t> count_bytes(IOStream stream) {
  std::string buffer(mb, '\0');
  std::uint64_t total = 0;
  try {
    for (;;) total += co_await stream.read_into(buffer, Partial::yes);
  } catch (const StreamClosedError& error) {
    CHECK_FALSE(error.real_error());
  }
  co_return total;
}

Future<void> write_bytes(IOStream stream, std::uint64_t count) {
  const std::string block(4 * mb, 'x');
  for (; count > 0; count -= std::min<std::uint64_t>(count, block.size())) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(count, block.size()));
    co_await stream.write(std::string_view(block).substr(0, size));
  }
  stream.close();
}

}  // namespace

TEST_SUITE("iostream") {
  // ---- the end

  TEST_CASE("SSLIOStream.close: the other end sees an end in order") {
    for (const TLSVersion version : versions) {
      test::Loop loop;
      const auto [a, b] = pair_of(version);
      b.write("hello");
      b.close();
      CHECK(result(loop, a.read_until_close()) == "hello");
      CHECK(a.closed());
      CHECK_FALSE(a.error());

      const auto [c, d] = pair_of(version);
      c.write("hello");
      c.close();
      CHECK(result(loop, d.read_bytes(5)) == "hello");
      CHECK_FALSE(why_closed(loop, d.read_bytes(1)));
    }
  }

  TEST_CASE("SSLIOStream: an end below TLS only is StreamErrc.truncated (S39)") {
    for (const TLSVersion version : versions) {
      test::Loop loop;
      const auto [a, b] = pair_of(version);
      result(loop, b.write("hello"));
      send_fin(b);
      CHECK(result(loop, a.read_until_close()) == "hello");
      CHECK(a.error() == StreamErrc::truncated);

      const auto [c, d] = pair_of(version);
      const auto read = d.read_bytes(1);
      send_fin(c);
      CHECK(why_closed(loop, read) == StreamErrc::truncated);
    }
  }

  TEST_CASE("SSLIOStream: a reset is the system's error (S6, S25)") {
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    const auto read = a.read_bytes(1);
    send_reset(b);
    CHECK(why_closed(loop, read) == std::errc::connection_reset);
    b.close();

    const auto [c, d] = make_tls_pair();
    bool closed = false;
    c.set_close_callback([&] { closed = true; });
    loop.iterate(3);
    send_reset(d);
    wait_until(loop, [&] { return closed; });
    CHECK(c.error() == std::errc::connection_reset);
  }

  TEST_CASE("SSLIOStream: bytes that are no TLS are an error of TLS") {
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    const auto read = a.read_bytes(1);
    REQUIRE(::send(b.fileno(), "what is this", 12, 0) == 12);
    CHECK(why_closed(loop, read).category() == ssl_category());
    // The other end is told by an alert.
    CHECK(why_closed(loop, b.read_bytes(1)).category() == ssl_category());
  }

  TEST_CASE("SSLIOStream: what came before a failed write can still be read") {
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    result(loop, b.write("last words"));
    test::wait_for_events(a.fileno(), POLLIN);
    ::shutdown(a.fileno(), SHUT_WR);  // every write fails from now on
    const auto written = a.write("x");
    const auto read = a.read_until_close();
    CHECK(result(loop, read) == "last words");
    CHECK(why_closed(loop, written) == std::errc::broken_pipe);
  }

  TEST_CASE("SSLIOStream.close: with unsent bytes it does not look like an end in order") {
    test::Loop loop;
    const auto [a, b] = test::make_narrow_pair(test::Transport::tls);
    b.write(std::string(8 * mb, 'x'));
    b.close();
    CHECK(result(loop, a.read_until_close()).size() < 8 * mb);
    CHECK(a.error() == StreamErrc::truncated);
  }

  TEST_CASE("SSLIOStream.write_file: of a file that shrinks does not look like an end in order") {
    test::Loop loop;
    const auto [a, b] = test::make_narrow_pair(test::Transport::tls);
    const test::TemporaryFile file(test::pattern(2 * mb));
    const auto written = b.write_file(file.path());
    loop.iterate(5);
    REQUIRE_FALSE(written.done());
    REQUIRE(::truncate(file.path().c_str(), mb) == 0);
    CHECK(result(loop, a.read_until_close()).size() < 2 * mb);
    CHECK(a.error() == StreamErrc::truncated);
    CHECK(why_closed(loop, written) == StreamErrc::file_truncated);
  }

  TEST_CASE("SSLIOStream: closed by both at once") {
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    a.close();
    b.close();
    CHECK_FALSE(a.error());
    CHECK_FALSE(b.error());
  }

  TEST_CASE("SSLIOStream: a forked child that closes its copy says nothing to the other end") {
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    const test::Child child = test::run_in_child([&] { loop.close(); });
    CHECK(child.succeeded());
    a.write("still here");
    CHECK(result(loop, b.read_bytes(10)) == "still here");
  }

  // ---- half of it

  TEST_CASE("SSLIOStream.shutdown_write: the other direction goes on (S39)") {
    for (const TLSVersion version : versions) {
      test::Loop loop;
      const auto [server, client] = pair_of(version, {.allow_half_open = true});
      client.write("request");
      const auto told = client.shutdown_write();
      CHECK(result(loop, server.read_until_close()) == "request");
      CHECK(told.done());
      // Not the connection below: that would be an event of its own.
      pollfd poll{server.fileno(), POLLRDHUP, 0};
      CHECK(::poll(&poll, 1, 0) == 0);
      const std::string answer = test::pattern(mb);
      server.write(answer);
      server.shutdown_write();
      CHECK(result(loop, client.read_until_close()) == answer);
      wait_until(loop, [&] { return client.closed() && server.closed(); });
      CHECK_FALSE(client.error());
      CHECK_FALSE(server.error());
    }
  }

  TEST_CASE("SSLIOStream.shutdown_write: with much to be sent before, to a slow reader") {
    test::Loop loop;
    const auto [a, b] = test::make_narrow_pair(test::Transport::tls, {.allow_half_open = true});
    const std::string data = test::pattern(2 * mb);
    b.write(data);
    const auto told = b.shutdown_write();
    loop.iterate(5);
    CHECK_FALSE(told.done());
    CHECK(result(loop, a.read_until_close()) == data);
    result(loop, told);
    a.write("x");
    CHECK(result(loop, b.read_bytes(1)) == "x");
  }

  TEST_CASE("SSLIOStream.shutdown_write: right after the handshake, with its tickets unread") {
    test::Loop loop;
    const auto [server, client] = pair_of(TLSVersion::TLSv1_3, {.allow_half_open = true});
    client.shutdown_write();
    CHECK(result(loop, server.read_until_close()).empty());
    server.write("answer");
    CHECK(result(loop, client.read_bytes(6)) == "answer");
  }

  // ---- what OpenSSL says on its own

  TEST_CASE("SSLIOStream: a key update, which wants an answer, between reads and writes") {
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    for (int i = 0; i < 3; ++i) {
      REQUIRE(SSL_key_update(ssl_of(a), SSL_KEY_UPDATE_REQUESTED) == 1);
      a.write("ping\n");
      CHECK(result(loop, b.read_until("\n")) == "ping\n");
      b.write("pong\n");
      CHECK(result(loop, a.read_until("\n")) == "pong\n");
    }
  }

  TEST_CASE("SSLIOStream: a key update whose answer does not fit") {
    test::Loop loop;
    const auto [a, b] = test::make_narrow_pair(test::Transport::tls);
    const SSLIOStream tls(b);
    const std::string data = test::pattern(2 * mb);
    const auto written = a.write(data);
    wait_until(loop, [&, n = 0]() mutable { return ++n > 5; });
    REQUIRE(SSL_key_update(ssl_of(tls), SSL_KEY_UPDATE_REQUESTED) == 1);
    const auto back = b.write(data);
    const auto at_a = a.read_bytes(data.size());
    CHECK(result(loop, b.read_bytes(data.size())) == data);
    CHECK(result(loop, at_a) == data);
    result(loop, written);
    result(loop, back);
  }

  TEST_CASE("SSLIOStream: a renegotiation, in which writing waits for reading") {
    SSLContext server = server_context();
    SSLContext client = client_context();
    server.set_maximum_version(TLSVersion::TLSv1_2);
    for (const SSLContext& context : {server, client}) {
      SSL_CTX_clear_options(static_cast<SSL_CTX*>(context.native_handle()),
                            SSL_OP_NO_RENEGOTIATION);
    }
    test::Loop loop;
    const auto [a, b] = make_tls_pair({}, server, client);
    // The client has to read to answer.
    const auto at_b = b.read_until("\n");
    loop.iterate(2);
    REQUIRE(SSL_renegotiate(ssl_of(a)) == 1);
    a.write("after it\n");
    CHECK(result(loop, at_b) == "after it\n");
    CHECK(SSL_num_renegotiations(ssl_of(a)) == 1);
    b.write("all the same\n");
    CHECK(result(loop, a.read_until("\n")) == "all the same\n");
  }

  TEST_CASE("SSLIOStream: our contexts do not renegotiate") {
    SSLContext server = server_context();
    server.set_maximum_version(TLSVersion::TLSv1_2);
    test::Loop loop;
    const auto [a, b] = make_tls_pair({}, server);
    CHECK(SSL_renegotiate(ssl_of(b)) == 0);
  }

  // ---- much of it

  TEST_CASE("SSLIOStream: many small pieces are few records, and large ones are whole") {
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    std::string expected;
    for (int i = 0; i < 2000; ++i) {
      const std::string piece = test::pattern(static_cast<std::size_t>(i) * 7 % 5000);
      expected += piece;
      b.write(std::string(piece));
    }
    CHECK(result(loop, a.read_bytes(expected.size())) == expected);
  }

  // Takes some seconds: TORNADO_TEST_LARGE says that there is time.
  TEST_CASE("SSLIOStream: more than 2 GiB (S32)") {
    if (std::getenv("TORNADO_TEST_LARGE") == nullptr) return;
    constexpr std::uint64_t size = (std::uint64_t{2} << 30) + 12345;
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    const auto counted = count_bytes(a);
    const auto written = write_bytes(b, size);
    while (!counted.done() || !written.done()) loop.iterate();
    CHECK(counted.result() == size);
    CHECK(a.bytes_read() == size);
  }

  TEST_CASE("SSLIOStream.write: one string of more than 2 GiB (S32)") {
    if (std::getenv("TORNADO_TEST_LARGE") == nullptr) return;
    constexpr std::size_t size = (std::size_t{2} << 30) + 12345;
    test::Loop loop;
    const auto [a, b] = make_tls_pair();
    const auto counted = count_bytes(a);
    const auto written = b.write(std::string(size, 'x'));
    while (!written.done()) loop.iterate();
    b.close();
    while (!counted.done()) loop.iterate();
    CHECK(counted.result() == size);
  }
}
