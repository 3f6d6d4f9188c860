// SPDX-License-Identifier: Apache-2.0
#include "stream_support.hpp"
#include "tornado/iostream.hpp"

#include <csignal>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

using tornado::Future;
using tornado::IOStream;
using tornado::IOStreamOptions;
using tornado::Partial;
using tornado::PipeIOStream;
using tornado::StreamErrc;

namespace gen = tornado::gen;

using test::result;
using test::wait_until;
using test::why_closed;

namespace {

constexpr std::errc broken_pipe = std::errc::broken_pipe;

/// The reading end and the writing end of a pipe.
std::pair<int, int> pipe_ends() {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  return {ends[0], ends[1]};
}

/// One that reads and one that writes: the pair of TestPipeIOStream.make_iostream_pair.
std::pair<PipeIOStream, PipeIOStream> make_pipe_streams(const IOStreamOptions& options = {}) {
  const auto [reader, writer] = pipe_ends();
  return {PipeIOStream(reader, options), PipeIOStream(writer, options)};
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

/// The error of `PipeIOStream(fd)`; none if there is no error.
std::error_code refusal(int fd, const IOStreamOptions& options = {}) {
  try {
    const PipeIOStream stream(fd, options);
  } catch (const std::system_error& error) {
    CHECK(std::string(error.what()).find("descriptor " + std::to_string(fd)) != std::string::npos);
    return error.code();
  }
  return {};
}

Future<void> write_in_pieces(IOStream stream, std::string data, std::size_t size) {
  for (std::size_t begin = 0; begin < data.size(); begin += size) {
    co_await stream.write(data.substr(begin, size));
  }
}

/// Writes to a pipe that nobody reads.
void write_in_vain(test::Loop& loop) {
  const auto [reader, writer] = pipe_ends();
  const PipeIOStream ws(writer);
  ::close(reader);
  if (why_closed(loop, ws.write("x")) != broken_pipe) ::_exit(2);
}

int pipe_signals = 0;
void count_pipe_signal(int) { ++pipe_signals; }

bool sigpipe_pending() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGPIPE) == 1;
}
bool sigpipe_blocked() {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, SIGPIPE) == 1;
}
void block_sigpipe() {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

}  // namespace

TEST_SUITE("iostream") {
  // Python: iostream_test.TestPipeIOStream.test_pipe_iostream
  TEST_CASE("PipeIOStream: what one end writes the other end reads") {
    test::Loop loop;
    auto [rs, ws] = make_pipe_streams();
    ws.write("hel");
    ws.write("lo world");
    CHECK(result(loop, rs.read_until(" ")) == "hello ");
    CHECK(result(loop, rs.read_bytes(3)) == "wor");
    ws.close();
    CHECK(result(loop, rs.read_until_close()) == "ld");
    CHECK(rs.error() == std::error_code());
    rs.close();
  }

  // Python: iostream_test.TestPipeIOStream.test_pipe_iostream_big_write
  TEST_CASE("PipeIOStream: a write that is larger than the pipe (S34)") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    const std::string data = test::pattern(1048576);
    const auto written = ws.write(data);
    ws.flush();
    CHECK(ws.writing());
    CHECK_FALSE(written.done());
    CHECK((result(loop, rs.read_bytes(data.size())) == data));
    result(loop, written);
    CHECK_FALSE(ws.writing());
  }

  // ---- The other tests of TestReadWriteMixin, which TestPipeIOStream inherits

  TEST_CASE("PipeIOStream: zero bytes are written and read") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    result(loop, ws.write(""));
    CHECK(result(loop, rs.read_bytes(0)) == "");
    CHECK(result(loop, rs.read_into({})) == 0);
    ws.write("x");
    CHECK(result(loop, rs.read_bytes(1)) == "x");
  }

  TEST_CASE("PipeIOStream: the end is behind what was written, whichever way it is read") {
    test::Loop loop;
    SUBCASE("in pieces") {
      const auto [rs, ws] = make_pipe_streams();
      ws.write("12");
      CHECK(result(loop, rs.read_bytes(1)) == "1");
      ws.close();
      CHECK(result(loop, rs.read_bytes(1)) == "2");
      CHECK(why_closed(loop, rs.read_bytes(1)) == std::error_code());
    }
    SUBCASE("with a small chunk size") {
      const auto [rs, ws] = make_pipe_streams({.read_chunk_size = 256});
      ws.write(std::string(512, 'A'));
      CHECK((result(loop, rs.read_bytes(256)) == std::string(256, 'A')));
      ws.close();
      CHECK((result(loop, rs.read_bytes(256)) == std::string(256, 'A')));
    }
    SUBCASE("until it is closed, after it was") {
      const auto [rs, ws] = make_pipe_streams();
      ws.write("1234");
      CHECK(result(loop, rs.read_bytes(1)) == "1");
      ws.close();
      CHECK(result(loop, rs.read_until_close()) == "234");
      CHECK(rs.closed());
    }
    SUBCASE("a delimiter that does not come") {
      const auto [rs, ws] = make_pipe_streams();
      const auto future = rs.read_until("\n");
      ws.write("abc");
      ws.close();
      CHECK(why_closed(loop, future) == std::error_code());
    }
  }

  TEST_CASE("PipeIOStream: a close callback hears of the other end, with and without a read") {
    for (const bool reading : {false, true}) {
      CAPTURE(reading);
      test::Loop loop;
      const auto [rs, ws] = make_pipe_streams();
      bool closed = false;
      rs.set_close_callback([&] { closed = true; });
      ws.write("hello");
      CHECK(result(loop, rs.read_bytes(5)) == "hello");
      Future<std::string> read;
      if (reading) read = rs.read_until("\n");
      loop.iterate(5);
      CHECK_FALSE(closed);
      ws.close();
      wait_until(loop, [&] { return closed; });
      CHECK(rs.error() == std::error_code());
      if (reading) CHECK(why_closed(loop, read) == std::error_code());
    }
  }

  TEST_CASE("PipeIOStream: partial reads") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    auto future = rs.read_bytes(50, Partial::yes);
    ws.write("hello");
    CHECK(result(loop, future) == "hello");
    ws.write("world");
    CHECK(result(loop, rs.read_bytes(3, Partial::yes)) == "wor");
    std::string buffer(10, '.');
    CHECK(result(loop, rs.read_into(buffer, Partial::yes)) == 2);
    CHECK(buffer == "ld........");
  }

  TEST_CASE("PipeIOStream.read_until: limits") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    ws.write("abcdef\r\n12");
    CHECK(result(loop, rs.read_until("\r\n", 8)) == "abcdef\r\n");
    CHECK(result(loop, rs.read_bytes(2)) == "12");
    ws.write("123456");
    CHECK(why_closed(loop, rs.read_until("\n", 5)) == StreamErrc::unsatisfiable_read);
  }

  TEST_CASE("PipeIOStream.read_until: a megabyte, written in small pieces") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    const std::string data = std::string(1 << 20, 'a') + "\n";
    const auto writing = write_in_pieces(ws, data, 4096);
    CHECK((result(loop, rs.read_until("\n")) == data));
    result(loop, writing);
  }

  TEST_CASE("PipeIOStream: many small reads from a large buffer") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams({.max_buffer_size = 10 * 1024});
    std::string line(1024, 'a');
    line.back() = '\n';
    for (int i = 0; i < 100; ++i) ws.write(line);
    for (int i = 0; i < 50; ++i) {
      CHECK((result(loop, rs.read_bytes(1024)) == line));
      CHECK((result(loop, rs.read_until("\n", 4096)) == line));
    }
  }

  TEST_CASE("PipeIOStream: ten megabytes pass through a buffer of five") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams({.max_buffer_size = 5 << 20});
    const std::string data = test::pattern(1 << 20);
    for (int i = 0; i < 10; ++i) ws.write(data);
    for (int i = 0; i < 10; ++i) CHECK((result(loop, rs.read_bytes(data.size())) == data));
  }

  TEST_CASE("PipeIOStream: read_bytes and read_into in turns") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    const std::string data = test::pattern(300000);
    const auto writing = write_in_pieces(ws, data, 777);
    std::string got;
    std::string buffer;
    for (std::size_t size = 1; got.size() < data.size(); size = size * 3 % 1009 + 1) {
      size = std::min(size, data.size() - got.size());
      if (size % 2 == 0) {
        got += result(loop, rs.read_bytes(size));
      } else {
        buffer.resize(size);
        CHECK(result(loop, rs.read_into(buffer)) == size);
        got += buffer;
      }
    }
    CHECK((got == data));
    result(loop, writing);
  }

  // ---- Descriptors

  TEST_CASE("PipeIOStream: its descriptor is non-blocking and close-on-exec, and closed with it") {
    test::Loop loop;
    const auto [reader, writer] = pipe_ends();
    {
      const PipeIOStream rs(reader);
      const IOStream ws = PipeIOStream(writer);
      for (const int fd : {reader, writer}) {
        CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
      }
      CHECK(rs.fileno() == reader);
      rs.close();
      CHECK(rs.fileno() == tornado::Socket::invalid_handle);
      CHECK_FALSE(is_open(reader));
      CHECK(is_open(writer));
    }
    CHECK_FALSE(is_open(writer));
  }

  TEST_CASE("PipeIOStream: a file, or a closed descriptor, is refused and stays as it was") {
    test::Loop loop;
    char name[] = "/tmp/tornado-asio-test-XXXXXX";
    const int file = ::mkstemp(name);
    REQUIRE(file >= 0);
    ::unlink(name);
    CHECK(refusal(file) == std::errc::operation_not_permitted);
    CHECK(is_open(file));
    CHECK((::fcntl(file, F_GETFL) & O_NONBLOCK) == 0);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK(refusal(null) == std::errc::operation_not_permitted);
    CHECK(is_open(null));
    ::close(null);
    ::close(file);
    CHECK(refusal(file) == std::errc::bad_file_descriptor);
    CHECK(refusal(-1) == std::errc::bad_file_descriptor);
  }

  TEST_CASE("PipeIOStream: a wrong option leaves the descriptor to the caller") {
    test::Loop loop;
    const auto [reader, writer] = pipe_ends();
    CHECK_THROWS_AS(PipeIOStream(reader, {.read_chunk_size = 0}), std::invalid_argument);
    REQUIRE(is_open(reader));
    const PipeIOStream rs(reader);
    const PipeIOStream ws(writer);
    ws.write("still there");
    CHECK(result(loop, rs.read_bytes(11)) == "still there");
  }

  TEST_CASE("PipeIOStream: both directions over a socket pair") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    const PipeIOStream a(ends[0]);
    const PipeIOStream b(ends[1]);
    const auto at_a = a.read_until("\n");
    const auto at_b = b.read_until("\n");
    a.write("to b\n");
    b.write("to a\n");
    CHECK(result(loop, at_a) == "to a\n");
    CHECK(result(loop, at_b) == "to b\n");
    b.close();
    const auto written = a.write("nobody reads this");
    CHECK(why_closed(loop, written) == broken_pipe);
  }

  TEST_CASE("PipeIOStream: an eventfd") {
    test::Loop loop;
    const PipeIOStream event(::eventfd(0, EFD_CLOEXEC));
    const auto read = event.read_bytes(8);
    loop.iterate(3);
    CHECK_FALSE(read.done());
    const std::uint64_t one = 1;
    event.write(std::string(reinterpret_cast<const char*>(&one), sizeof one));
    CHECK((result(loop, read) == std::string(reinterpret_cast<const char*>(&one), sizeof one)));
  }

  TEST_CASE("PipeIOStream: a terminal") {
    test::Loop loop;
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    REQUIRE(master >= 0);
    REQUIRE(::grantpt(master) == 0);
    REQUIRE(::unlockpt(master) == 0);
    const PipeIOStream user(master);
    const PipeIOStream program(::open(::ptsname(master), O_RDWR | O_NOCTTY));
    user.write("a line\n");
    CHECK(result(loop, program.read_until("\n")) == "a line\n");
    CHECK(result(loop, user.read_until("\n")) == "a line\r\n");  // the echo
  }

  TEST_CASE("PipeIOStream: a terminal's input does not wake a stream that only writes to it") {
    test::Loop loop;
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    REQUIRE(master >= 0);
    REQUIRE(::grantpt(master) == 0);
    REQUIRE(::unlockpt(master) == 0);
    const PipeIOStream user(master);
    const int before = test::open_descriptors();
    {
      const PipeIOStream program(::open(::ptsname(master), O_WRONLY | O_NOCTTY));
      program.set_close_callback([] {});
      user.write("typed\n");
      CHECK(result(loop, user.read_until("\n")) == "typed\r\n");  // the echo
      program.write("prompt ");
      CHECK(result(loop, user.read_until(" ")) == "prompt ");
      loop.iterate(5);
      CHECK_FALSE(program.closed());
      user.close();
      CHECK(why_closed(loop, program.write("nobody is there")) == std::errc::io_error);
    }
    CHECK(test::open_descriptors() == before - 1);
  }

  TEST_CASE("PipeIOStream: has no address, and does not connect") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    CHECK_THROWS_AS(static_cast<void>(rs.local_address()), std::system_error);
    CHECK_THROWS_AS(ws.set_nodelay(true), std::system_error);
    CHECK(why_closed(loop, rs.connect(tornado::Address("127.0.0.1", 1))) ==
          std::errc::operation_not_supported);
  }

  TEST_CASE("PipeIOStream: closing it, or its loop, with everything pending leaves nothing open") {
    const int before = test::open_descriptors();
    for (const bool close : {false, true}) {
      CAPTURE(close);
      test::Loop loop;
      const auto [rs, ws] = make_pipe_streams();
      const auto read = rs.read_bytes(2 << 20);
      const auto written = ws.write(std::string(1 << 20, 'a'));
      rs.set_close_callback([] {});
      ws.set_close_callback([] {});
      loop.iterate(3);
      if (!close) continue;
      rs.close();
      ws.close();
      CHECK(why_closed(loop, read) == std::error_code());
      static_cast<void>(why_closed(loop, written));
    }
    CHECK(test::open_descriptors() == before);
  }

  TEST_CASE("PipeIOStream.shutdown_write: closes a pipe, behind what was written") {
    for (const bool callback : {false, true}) {
      CAPTURE(callback);
      test::Loop loop;
      const auto [rs, ws] = make_pipe_streams();
      bool closed = false;
      if (callback) ws.set_close_callback([&] { closed = true; });
      const std::string data = test::pattern(1 << 20);
      ws.write(data);
      const auto told = ws.shutdown_write();
      CHECK((result(loop, rs.read_until_close()) == data));
      result(loop, told);
      CHECK(ws.fileno() == tornado::Socket::invalid_handle);
      if (callback) wait_until(loop, [&] { return closed; });
      CHECK(ws.closed() == callback);
      CHECK(why_closed(loop, ws.read_bytes(1)) == std::error_code());
      CHECK(ws.closed());
      CHECK(ws.error() == std::error_code());
    }
  }

  TEST_CASE("PipeIOStream.shutdown_write: a close callback that is set behind it is called") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    result(loop, ws.shutdown_write());
    bool closed = false;
    ws.set_close_callback([&] { closed = true; });
    wait_until(loop, [&] { return closed; });
    CHECK(ws.error() == std::error_code());
  }

  TEST_CASE("PipeIOStream.shutdown_write: of a socket pair, and of what cannot") {
    test::Loop loop;
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    const PipeIOStream a(ends[0]);
    const PipeIOStream b(ends[1], {.allow_half_open = true});
    a.write("to b");
    result(loop, a.shutdown_write());
    CHECK(result(loop, b.read_until_close()) == "to b");
    b.write("to a");
    CHECK(result(loop, a.read_bytes(4)) == "to a");
    const PipeIOStream event(::eventfd(0, EFD_CLOEXEC));
    CHECK_THROWS_AS(result(loop, event.shutdown_write()), std::system_error);
    CHECK_FALSE(event.closed());
  }

  TEST_CASE("PipeIOStream.write_file: into a pipe") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    char name[] = "/tmp/tornado-asio-test-XXXXXX";
    const int file = ::mkstemp(name);
    REQUIRE(file >= 0);
    ::unlink(name);
    const std::string data = test::pattern(300000);
    REQUIRE(::write(file, data.data(), data.size()) == 300000);
    ws.write("before ");
    const auto sent = ws.write_file(file);
    ws.write(" after");
    ::close(file);
    CHECK(result(loop, rs.read_bytes(7)) == "before ");
    CHECK((result(loop, rs.read_bytes(data.size())) == data));
    CHECK(result(loop, rs.read_bytes(6)) == " after");
    CHECK(result(loop, sent) == data.size());
  }

  // ---- The reader goes

  TEST_CASE("PipeIOStream: writing without a reader is a broken pipe") {
    test::Loop loop;
    const auto [reader, writer] = pipe_ends();
    const PipeIOStream ws(writer);
    result(loop, ws.write("fits into the pipe"));
    ::close(reader);
    CHECK(why_closed(loop, ws.write("x")) == broken_pipe);
    CHECK(ws.closed());
    CHECK(ws.error() == broken_pipe);
  }

  TEST_CASE("PipeIOStream: the reader goes while a write waits for room") {
    for (const bool callback : {false, true}) {
      CAPTURE(callback);
      test::Loop loop;
      const auto [reader, writer] = pipe_ends();
      const PipeIOStream ws(writer);
      if (callback) ws.set_close_callback([] {});
      const auto written = ws.write(std::string(1 << 20, 'a'));
      loop.iterate(3);
      CHECK_FALSE(written.done());
      ::close(reader);
      CHECK(why_closed(loop, written) == broken_pipe);
      CHECK(ws.error() == broken_pipe);
    }
  }

  TEST_CASE("PipeIOStream: an idle writer with a close callback notices that the reader goes") {
    test::Loop loop;
    const auto [reader, writer] = pipe_ends();
    const PipeIOStream ws(writer);
    bool closed = false;
    ws.set_close_callback([&] { closed = true; });
    result(loop, ws.write("something"));
    loop.iterate(5);
    CHECK_FALSE(ws.closed());
    ::close(reader);
    wait_until(loop, [&] { return closed; });
    CHECK(ws.error() == broken_pipe);
  }

  TEST_CASE("PipeIOStream: a read from the writing end waits for the reader to go") {
    test::Loop loop;
    const auto [reader, writer] = pipe_ends();
    const PipeIOStream ws(writer);
    const auto read = ws.read_bytes(1);
    result(loop, ws.write("something"));
    CHECK_FALSE(read.done());
    ::close(reader);
    CHECK(why_closed(loop, read) == broken_pipe);
  }

  TEST_CASE("PipeIOStream: writing to the reading end fails") {
    test::Loop loop;
    const auto [rs, ws] = make_pipe_streams();
    CHECK(why_closed(loop, rs.write("x")) == std::errc::bad_file_descriptor);
  }

  // ---- SIGPIPE

  TEST_CASE("PipeIOStream: a broken pipe does not end a program that leaves SIGPIPE alone") {
    const test::Child child = test::run_in_child([] {
      std::signal(SIGPIPE, SIG_DFL);
      test::Loop loop;
      write_in_vain(loop);
      if (sigpipe_blocked() || sigpipe_pending()) ::_exit(3);
      ::raise(SIGPIPE);  // is still what it was
    });
    CHECK(WIFSIGNALED(child.status));
    CHECK(WTERMSIG(child.status) == SIGPIPE);
  }

  TEST_CASE("PipeIOStream: a program's own SIGPIPE handler, or none, sees nothing of our writes") {
    const test::Child child = test::run_in_child([] {
      test::Loop loop;
      std::signal(SIGPIPE, count_pipe_signal);
      write_in_vain(loop);
      if (pipe_signals != 0 || sigpipe_blocked() || sigpipe_pending()) ::_exit(3);
      std::signal(SIGPIPE, SIG_IGN);
      write_in_vain(loop);
      if (sigpipe_blocked() || sigpipe_pending()) ::_exit(4);
      // And not even when it blocks the signal, to look for it later.
      std::signal(SIGPIPE, count_pipe_signal);
      block_sigpipe();
      write_in_vain(loop);
      if (!sigpipe_blocked() || sigpipe_pending() || pipe_signals != 0) ::_exit(5);
    });
    CHECK(child.succeeded());
  }

  TEST_CASE("PipeIOStream: a SIGPIPE that was pending before is not taken away") {
    const test::Child child = test::run_in_child([] {
      test::Loop loop;
      std::signal(SIGPIPE, count_pipe_signal);
      block_sigpipe();
      ::raise(SIGPIPE);
      write_in_vain(loop);
      if (!sigpipe_pending() || pipe_signals != 0) ::_exit(3);
    });
    CHECK(child.succeeded());
  }

  TEST_CASE("PipeIOStream: a broken socket raises no SIGPIPE either") {
    const test::Child child = test::run_in_child([] {
      std::signal(SIGPIPE, SIG_DFL);
      test::Loop loop;
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) ::_exit(2);
      const PipeIOStream stream(ends[0]);
      ::close(ends[1]);
      if (why_closed(loop, stream.write("x")) != broken_pipe) ::_exit(3);
      if (sigpipe_blocked() || sigpipe_pending()) ::_exit(4);
    });
    CHECK(child.succeeded());
  }
}
