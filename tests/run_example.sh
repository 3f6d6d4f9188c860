#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs an example and compares what it prints with what it should.
#
#     run_example.sh FOLDER [--server SERVER ARGUMENT... --] PROGRAM ARGUMENT...
#     run_example.sh FILE PROGRAM ARGUMENT...
#
# Fails unless PROGRAM exits with 0 and prints FOLDER/expected.txt, or FILE, on its standard output.
# In that file `{*}` stands for any text within a line, also none, for figures that differ each time.
#
# With --server, SERVER is started first and stopped (SIGTERM) afterwards. It prints
# `Listening on HOST:PORT`, and @PORT@ in PROGRAM's arguments becomes that port. Where they have a
# @PID@, which becomes the server's process, PROGRAM itself stops the server.
# Where FOLDER/expected_server.txt exists, the server's output is compared with it, and it has to exit
# with 0.
set -euo pipefail

folder=$1
expected=$1
[[ -d $folder ]] && expected=$folder/expected.txt
shift
scratch=$(mktemp -d)
server_pid=
server_status=0
after= # what clean_up is told when PROGRAM has ended

clean_up() {
  if [[ -n $server_pid ]]; then
    [[ ${1-} == ended ]] || kill "$server_pid" 2>/dev/null || true
    server_status=0
    wait "$server_pid" 2>/dev/null || server_status=$?
    server_pid=
  fi
}
trap 'clean_up; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# compare EXPECTED ACTUAL
compare() {
  awk '
    # Does `text` consist of the pieces of `pattern` between its {*}, in order?
    function matches(text, pattern,    n, i, at, piece) {
      n = split(pattern, piece, /[{][*][}]/)
      if (n < 2) return text == pattern
      if (substr(text, 1, length(piece[1])) != piece[1]) return 0
      text = substr(text, length(piece[1]) + 1)
      for (i = 2; i < n; i++) {
        at = index(text, piece[i])
        if (at == 0 && piece[i] != "") return 0
        text = substr(text, at + length(piece[i]))
      }
      return length(text) >= length(piece[n]) &&
             substr(text, length(text) - length(piece[n]) + 1) == piece[n]
    }
    FILENAME == ARGV[1] { expected[++lines] = $0; next }
    !matches($0, expected[FNR]) || FNR > lines { bad = 1 }
    { seen = FNR }
    END { exit bad || seen < lines }
  ' "$1" "$2" && return
  echo "The output is not what $1 says (-: expected, +: printed):"
  diff -u "$1" "$2" || true
  return 1
}

if [[ $1 == --server ]]; then
  shift
  server=()
  while [[ $1 != -- ]]; do
    server+=("$1")
    shift
  done
  shift

  "${server[@]}" >"$scratch/server" </dev/null &
  server_pid=$!
  port=
  while [[ -z $port ]]; do
    kill -0 "$server_pid" 2>/dev/null || { echo "The server has ended: ${server[*]}" && exit 1; }
    sleep 0.02
    port=$(sed -n 's/^Listening on .*:\([0-9][0-9]*\)$/\1/p' "$scratch/server")
  done
  set -- "${@//@PORT@/$port}"
  [[ $* == *@PID@* ]] && after=ended
  set -- "${@//@PID@/$server_pid}"
fi

status=0
"$@" >"$scratch/program" </dev/null || status=$?
((status == 0)) || after=
clean_up $after

if ((status != 0)); then
  cat "$scratch/program"
  echo "Exit status $status: $*"
  exit 1
fi
compare "$expected" "$scratch/program"
if [[ -e $folder/expected_server.txt ]]; then
  compare "$folder/expected_server.txt" "$scratch/server"
  ((server_status == 0)) || { echo "Exit status $server_status of the server" && exit 1; }
fi
