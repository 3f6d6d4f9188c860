// SPDX-License-Identifier: Apache-2.0
//
// Sending files: IOStream::write_file.
#include "coroutine_support.hpp"
#include "stream_support.hpp"
#include "tornado/gen.hpp"
#include "tornado/iostream.hpp"

#include <csignal>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

using namespace tornado;
using test::make_iostream_pair;
using test::make_narrow_pair;
using test::make_wire_stream;
using test::mb;
using test::outcome;
using test::result;
using test::Transport;
using test::wait_until;
using test::why_closed;

namespace {

/// A file of these bytes, for as long as it lives.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& bytes) : descriptor_(::mkstemp(path_.data())) {
    REQUIRE(descriptor_ >= 0);
    REQUIRE(::write(descriptor_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~TemporaryFile() {
    ::close(descriptor_);
    ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  void truncate(std::size_t size) const {
    REQUIRE(::ftruncate(descriptor_, static_cast<off_t>(size)) == 0);
  }

 private:
  std::string path_ = "/tmp/tornado-asio-test-XXXXXX";
  int descriptor_;
};

}  // namespace

TEST_SUITE("iostream") {
  TEST_CASE("IOStream.write_file: nobody needs to keep its Future") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    const TemporaryFile file("file");
    stream.write_file(file.path());
    const auto last = stream.write("last");
    result(loop, last);
    CHECK(wire->written == "filelast");
  }

  TEST_CASE("IOStream.write_file: the whole file arrives, in order with what is written") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [reader, writer] = make_narrow_pair(transport);
      const std::string bytes = test::pattern(9 * mb);
      const TemporaryFile file(bytes);
      const auto header = writer.write("header");
      const auto body = writer.write_file(file.path());
      const auto trailer = writer.write("trailer");
      auto read = reader.read_bytes(6 + bytes.size() + 7);
      CHECK(result(loop, std::move(read)) == "header" + bytes + "trailer");
      result(loop, header);
      CHECK(result(loop, body) == bytes.size());
      result(loop, trailer);
      CHECK(writer.bytes_written() == 6 + bytes.size() + 7);
    }
  }

  TEST_CASE("IOStream.write_file: a part of a file, several files, small writes between them") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [reader, writer] = make_iostream_pair(transport);
      const TemporaryFile digits("0123456789");
      const TemporaryFile letters("abcdefgh");
      writer.write("<");
      CHECK(result(loop, writer.write_file(digits.path(), 2, 3)) == 3);
      writer.write_file(letters.path(), 6);
      writer.write("|");
      writer.write("|");
      writer.write_file(digits.path(), 0, 1);
      writer.write_file(letters.path(), 8);
      writer.write_file(letters.path(), 0, 0);
      writer.write(">");
      CHECK(result(loop, reader.read_until(">")) == "<234gh||0>");
    }
  }

  TEST_CASE("IOStream.write_file: a descriptor may be closed at once, its position is left alone") {
    test::Loop loop;
    const auto [reader, writer] = make_iostream_pair();
    const TemporaryFile file("0123456789");
    const int descriptor = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(::lseek(descriptor, 4, SEEK_SET) == 4);
    const int open_before = test::open_descriptors();
    const auto first = writer.write_file(descriptor, 1, 8);
    CHECK(::lseek(descriptor, 0, SEEK_CUR) == 4);
    ::close(descriptor);
    CHECK(result(loop, first) == 8);
    CHECK(result(loop, reader.read_bytes(8)) == "12345678");
    CHECK(test::open_descriptors() == open_before - 1);
  }

  TEST_CASE("IOStream.write_file: what is not there fails, and the stream goes on") {
    test::Loop loop;
    const auto [reader, writer] = make_iostream_pair();
    const TemporaryFile file("0123456789");
    CHECK(outcome(writer.write_file("/nowhere/nothing")).find("/nowhere/nothing") !=
          std::string::npos);
    CHECK(outcome(writer.write_file(-1)).find("IOStream::write_file") == 0);
    CHECK(outcome(writer.write_file("/tmp")).find("not a regular file") != std::string::npos);
    CHECK(outcome(writer.write_file(file.path(), 11)).find("of a file of 10") != std::string::npos);
    CHECK(outcome(writer.write_file(file.path(), 4, 7)).find("7 bytes from 4 on") !=
          std::string::npos);
    // The sum of the two would be 3.
    const auto far = writer.write_file(file.path(), 4, static_cast<std::uint64_t>(-1));
    CHECK(outcome(far).find("of a file of 10") != std::string::npos);
    result(loop, writer.write("x"));
    CHECK(result(loop, reader.read_bytes(1)) == "x");
  }

  TEST_CASE("IOStream.write_file: of a file that shrinks, the stream closes with the reason") {
    for (const Transport transport : test::transports) {
      CAPTURE(transport);
      test::Loop loop;
      const auto [reader, writer] = make_narrow_pair(transport);
      const TemporaryFile file(test::pattern(4 * mb));
      const auto sent = writer.write_file(file.path());
      loop.iterate(3);
      CHECK_FALSE(sent.done());
      file.truncate(100);
      const auto rest = reader.read_until_close();
      CHECK(why_closed(loop, sent) == StreamErrc::file_truncated);
      CHECK(writer.closed());
      CHECK(result(loop, rest).size() < 4 * mb);
    }
  }

  TEST_CASE("IOStream.write_file: a stream without sendfile gets the bytes") {
    test::Loop loop;
    const auto [stream, wire] = make_wire_stream();
    const std::string bytes = test::pattern(mb);
    const TemporaryFile file(bytes);
    wire->most_per_send = 10'000;
    stream.write("<");
    stream.write_file(file.path());
    result(loop, stream.write(">"));
    CHECK(wire->written == "<" + bytes + ">");
  }

  TEST_CASE("IOStream.write_file: does not count as memory, nor for max_write_buffer_size") {
    test::Loop loop;
    const auto [reader, writer] =
        make_narrow_pair(Transport::tcp, {.max_write_buffer_size = 1000, .write_watermark = 0});
    const TemporaryFile file(test::pattern(4 * mb));
    const auto sent = writer.write_file(file.path());
    CHECK(writer.writing());
    CHECK(writer.drain().done());
    const auto written = writer.write(std::string(1000, 'x'));
    const auto read = reader.read_bytes(4 * mb + 1000);
    result(loop, written);
    CHECK(sent.done());
    CHECK(result(loop, read).size() == 4 * mb + 1000);
  }

  TEST_CASE("IOStream.write_file: fails when the stream is closed, and closes the file") {
    test::Loop loop;
    const auto [reader, writer] = make_narrow_pair();
    const TemporaryFile file(test::pattern(4 * mb));
    const int open_before = test::open_descriptors();
    const auto sent = writer.write_file(file.path());
    loop.iterate(2);
    writer.close();
    CHECK(why_closed(loop, sent) == std::error_code());
    CHECK(test::open_descriptors() == open_before - 1);
    CHECK(why_closed(loop, writer.write_file(file.path())) == std::error_code());
    CHECK(test::open_descriptors() == open_before - 1);
  }

  TEST_CASE("IOStream.write_file: does not die of SIGPIPE") {
    for (const Transport transport : {Transport::tcp, Transport::local}) {
      CAPTURE(transport);
      const auto child = test::run_in_child([transport] {
        std::signal(SIGPIPE, SIG_DFL);
        test::Loop loop;
        const auto [reader, writer] = make_narrow_pair(transport);
        const TemporaryFile file(test::pattern(4 * mb));
        const auto sent = writer.write_file(file.path());
        loop.iterate(2);
        reader.close();
        if (!why_closed(loop, sent)) ::_exit(1);
      });
      CAPTURE(child.text);
      CHECK(child.succeeded());
    }
  }

  TEST_CASE("IOStream.write_file: a fast reader does not keep the others waiting") {
    test::Loop loop;
    const auto [reader, writer] = make_iostream_pair(Transport::local);
    const std::string bytes = test::pattern(1000);
    const TemporaryFile file(bytes);
    // More than is sent in a turn, of a sparse file.
    file.truncate(64 * mb);
    const auto sent = writer.write_file(file.path());
    const auto [quiet_reader, quiet_writer] = make_iostream_pair();
    quiet_writer.write("x");
    const auto all = reader.read_bytes(64 * mb);
    result(loop, quiet_reader.read_bytes(1));
    CHECK_FALSE(all.done());
    CHECK(result(loop, all).substr(0, 1000) == bytes);
    CHECK(result(loop, sent) == 64 * mb);
  }
}
