#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu
cmake -S hello -B hello/build -DCMAKE_PREFIX_PATH="$PWD/prefix"
cmake --build hello/build
hello/build/hello
