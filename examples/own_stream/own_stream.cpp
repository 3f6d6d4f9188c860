// SPDX-License-Identifier: Apache-2.0
//
// Streams of one's own: below the buffers of an IOStream is a StreamBackend. Here is one over
// memory, two ends of which are connected like a socketpair, and a layer that writes down what
// passes.
#include <tornado/tornado.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

using namespace tornado;

// ---- A stream over memory

/// What one end has written and the other has not read yet. Shared by the two.
struct Pipe {
  std::string bytes;
  bool ended = false;
  std::optional<StreamBackend::Ready> reader;  // which waits for bytes
  std::optional<StreamBackend::Ready> writer;  // which waits for room

  static constexpr std::size_t size = 16;
};

/// Wakes who waits, in an iteration of the loop's of its own: never from inside a call.
void wake(std::optional<StreamBackend::Ready>& waiting) {
  if (!waiting) return;
  auto ready = std::make_shared<StreamBackend::Ready>(std::move(*waiting));
  waiting.reset();
  IOLoop::current().add_callback([ready] { (*ready)(); });
}

class MemoryBackend : public StreamBackend {
 public:
  MemoryBackend(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out)
      : in_(std::move(in)), out_(std::move(out)) {}

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    if (in_->bytes.empty()) return in_->ended ? Result(0) : would_block();
    const std::size_t count = in_->bytes.copy(buffer, size);
    in_->bytes.erase(0, count);
    wake(in_->writer);
    return {count};
  }

  Result write_to_fd(std::span<const std::string_view> chunks) noexcept override {
    if (out_->ended) return {0, std::make_error_code(std::errc::broken_pipe)};
    std::size_t count = 0;
    for (std::string_view chunk : chunks) {
      chunk = chunk.substr(0, Pipe::size - out_->bytes.size());
      out_->bytes += chunk;
      count += chunk.size();
    }
    if (count == 0) return would_block();
    wake(out_->reader);
    return {count};
  }

  void wait(Interest interest, Ready ready) override {
    const bool reads = interest == Interest::read;
    auto& waiting = reads ? in_->reader : out_->writer;
    waiting.emplace(std::move(ready));
    const bool now = reads ? !in_->bytes.empty() || in_->ended : out_->bytes.size() < Pipe::size;
    if (now) wake(waiting);
  }

  std::error_code shutdown_write() noexcept override {
    out_->ended = true;
    wake(out_->reader);
    return {};
  }

  void close_fd() noexcept override {
    in_->reader.reset();
    out_->writer.reset();
    in_->ended = true;
    wake(in_->writer);
    static_cast<void>(shutdown_write());
  }

 private:
  static Result would_block() {
    return {0, std::make_error_code(std::errc::operation_would_block)};
  }

  std::shared_ptr<Pipe> in_;
  std::shared_ptr<Pipe> out_;
};

// ---- A layer

/// Prints what passes between a stream and the backend below.
class TraceLayer : public StreamBackend {
 public:
  TraceLayer(std::string name, std::unique_ptr<StreamBackend> lower)
      : name_(std::move(name)), lower_(std::move(lower)) {}

  Result read_from_fd(char* buffer, std::size_t size) noexcept override {
    const Result result = lower_->read_from_fd(buffer, size);
    if (result.bytes > 0) fmt::print("{} < {}\n", name_, std::string_view(buffer, result.bytes));
    return result;
  }
  Result write_to_fd(std::span<const std::string_view> chunks) noexcept override {
    const Result result = lower_->write_to_fd(chunks.first(1));
    if (result.bytes > 0) fmt::print("{} > {}\n", name_, chunks[0].substr(0, result.bytes));
    return result;
  }

  // What the lower one tells at the end of a wait passes through here, so that a layer may decide
  // otherwise, and wait again.
  void wait(Interest interest, Ready ready) override {
    Ready through = ready.for_layer(*this, interest);
    (interest == Interest::read ? reader_ : writer_).emplace(std::move(ready));
    lower_->wait(interest, std::move(through));
  }
  void on_lower_ready(Interest interest, std::error_code error) override {
    auto& waiting = interest == Interest::read ? reader_ : writer_;
    Ready ready = std::move(*waiting);
    waiting.reset();
    ready(error);
  }

  std::error_code shutdown_write() noexcept override { return lower_->shutdown_write(); }
  void close_fd() noexcept override { lower_->close_fd(); }

 private:
  std::string name_;
  std::unique_ptr<StreamBackend> lower_;
  std::optional<Ready> reader_;
  std::optional<Ready> writer_;
};

// ---- A conversation

Future<void> answer(IOStream stream) {
  const std::string name = co_await stream.read_until("\n");
  co_await stream.write("Hello, " + name);
  co_await stream.shutdown_write();
}

Future<void> ask(IOStream stream) {
  stream.write("stream of my own\n");
  const std::string reply = co_await stream.read_until_close();
  fmt::print("{}", reply);
}

int main() {
  IOLoop::current().run_sync([]() -> Future<void> {
    auto there = std::make_shared<Pipe>();
    auto back = std::make_shared<Pipe>();
    IOStream server(std::make_unique<MemoryBackend>(there, back));
    auto below = std::make_unique<MemoryBackend>(back, there);
    IOStream client(std::make_unique<TraceLayer>("client", std::move(below)));
    const Future<void> answered = answer(server);
    co_await ask(client);
    co_await answered;
  });
}
