#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A server behind a proxy, for run_example.sh: behind_proxy.sh SERVER ARGUMENT... -+-
# PROXY ARGUMENT... (`--` being run_example.sh's)
# Both print `Listening on HOST:PORT`, the proxy's is passed on; its --upstream-port is added here.
set -euo pipefail

server=()
while [[ $1 != -+- ]]; do
  server+=("$1")
  shift
done
shift

log=$(mktemp)
"${server[@]}" >"$log" </dev/null &
pids=($!)
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -f "$log"' EXIT
trap 'exit 0' TERM INT
port=
while [[ -z $port ]]; do
  kill -0 "${pids[0]}"
  read -r -t 0.02 <> <(:) || true
  port=$(sed -n 's/^Listening on .*:\([0-9][0-9]*\)$/\1/p' "$log")
done
"$@" --upstream-port "$port" </dev/null &
pids+=($!)
wait "${pids[1]}"
