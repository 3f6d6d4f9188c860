#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the library in the folder prefix.
set -eu
cmake -S tornado-asio -B build -DCMAKE_BUILD_TYPE=Release \
  -DTORNADO_BUILD_TESTS=OFF -DTORNADO_BUILD_EXAMPLES=OFF -DTORNADO_BUILD_BENCHMARKS=OFF
cmake --build build --parallel "$(nproc)"
cmake --install build --prefix "$PWD/prefix"
