#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Compares the program in README.md with examples/readme/echo.cpp, which is built.
set -eu
shown=$(mktemp)
trap 'rm -f "$shown"' EXIT
awk '/^```/ { on = /cpp/; next } on' README.md >"$shown"
tail -n +2 examples/readme/echo.cpp | diff -u "$shown" -
