#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu
cmake -S hello -B hello/build
cmake --build hello/build --parallel "$(nproc)"
hello/build/hello
