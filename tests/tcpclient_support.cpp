// SPDX-License-Identifier: Apache-2.0
//
// connect(2), which tells whom this program has called it for.
#include "tcpclient_support.hpp"

#include <algorithm>

#include <dlfcn.h>

test::Addresses& test::tried() {
  static Addresses addresses;
  return addresses;
}

extern "C" __attribute__((visibility("default"))) int connect(int fd, const sockaddr* address,
                                                              socklen_t size) {
  static const auto real = reinterpret_cast<decltype(&::connect)>(::dlsym(RTLD_NEXT, "connect"));
  const tornado::Address to = tornado::Address::from_native(address, size);
  test::Addresses& all = test::tried();
  if (std::find(all.begin(), all.end(), to) == all.end()) all.push_back(to);
  return real(fd, address, size);
}
