#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Whether the load generator and this library's server get on, for a moment of each workload:
#
#     benchmarks/smoke.sh FOLDER-OF-THE-PROGRAMS

set -euo pipefail
cd "$1"

check() { # check SERVER-ARGUMENTS LOAD-ARGUMENTS
  local server line result
  # shellcheck disable=SC2086
  exec {output}< <(exec ./tornado_asio_server --port 0 $1)
  server=$!
  read -r -t 30 line <&"$output"
  # shellcheck disable=SC2086
  result=$(./echo_load $2 --port "${line##*:}" --pid "$server" --seconds 0.1)
  kill "$server"
  exec {output}<&-
  grep -qE '^operations [1-9]' <<<"$result" || { echo "$2: $result" && exit 1; }
}

check '' 'ping-pong --connections 3'
check '--variant awaited' 'ping-pong --connections 1 --size 4096'
check '' 'stream --connections 2'
check '' 'churn --connections 4'
check '--mode lines' 'lines --connections 2'
check '--mode lines --variant buffered' 'lines --connections 2'
check '' 'idle --idle 50 --connections 2'
check '--loops 2' 'ping-pong --connections 8'
