#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2046 # several words on purpose
set -eu
export PKG_CONFIG_PATH="$PWD/prefix/lib/pkgconfig" LD_LIBRARY_PATH="$PWD/prefix/lib"
g++ -std=c++20 hello/main.cpp -o hello/hello $(pkg-config --cflags --libs tornado-asio)
hello/hello
