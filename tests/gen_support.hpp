// SPDX-License-Identifier: Apache-2.0
//
// tests/gen_support.hpp: what tests of coroutines use, beside tests/coroutine_support.hpp.
#pragma once

#include "coroutine_support.hpp"
#include "tornado/concurrent.hpp"
#include "tornado/gen.hpp"

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace test {

struct ZeroDivisionError : std::runtime_error {
  ZeroDivisionError() : std::runtime_error("division by zero") {}
};

struct KeyError : std::runtime_error {
  KeyError() : std::runtime_error("no such key") {}
};

/// Python's 1 / 0.
inline void divide_by_zero() { throw ZeroDivisionError(); }

template <class T>
tornado::Future<T> async_future(T result) {
  co_await tornado::gen::moment;
  co_return result;
}

template <class T = int>
tornado::Future<T> async_exception(std::exception_ptr e) {
  co_await tornado::gen::moment;
  std::rethrow_exception(e);
}

inline tornado::Future<int> fails_with(const char* what) {
  return async_exception(std::make_exception_ptr(std::runtime_error(what)));
}

inline tornado::Future<int> add_one_async(int x) {
  co_await tornado::gen::moment;
  co_return x + 1;
}

/// What `future` throws when it is awaited, or "" if nothing.
template <class T>
tornado::Future<std::string> error_of(tornado::Future<T> future) {
  try {
    co_await future;
  } catch (const tornado::CancelledError&) {
    co_return "cancelled";
  } catch (const std::exception& e) {
    co_return e.what();
  }
  co_return "";
}

/// A list of futures; a braced one does not work inside co_await on g++ 12, and copies.
template <class T, class... Rest>
std::vector<tornado::Future<T>> list(tornado::Future<T> first, Rest... rest) {
  std::vector<tornado::Future<T>> futures;
  futures.push_back(std::move(first));
  (futures.push_back(std::move(rest)), ...);
  return futures;
}

}  // namespace test

namespace user {

/// Something of a program's own that can be awaited.
struct Ticket {
  int number;
};

inline tornado::Future<int> convert_yielded(Ticket ticket) {
  return test::async_future(ticket.number);
}

}  // namespace user
