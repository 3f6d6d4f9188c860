#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Compares the C++ of the documentation with the examples, which are built and run: each block that
# begins with ```cpp stands, line by line, in a file under examples/, where it may be indented
# further. Declarations, and code that is wrong on purpose, are in ```c++ blocks, which are left
# alone. The ```cpp, ```cmake and ```sh blocks of docs/install.md stand in files under tests/package,
# which check.sh there runs.
#
#     check_docs.sh                  docs/guide, docs/reference and the pages beside them
#     check_docs.sh --self-test      itself, with blocks that do and do not stand there
set -eu

check() { # check LANGUAGES FOLDER PAGES...: the blocks of the pages stand in files in the folder
  languages=$1 folder=$2
  shift 2
  find "$folder" -type f | LC_ALL=C sort | awk -v languages="$languages" -v folder="$folder" '
    function indent_of(text) { match(text, /^ */); return RLENGTH }

    # Do the lines of the block stand in the examples from line `at` on, all further right by as much?
    function stands_at(at,    i, more, text) {
      more = -1
      for (i = 1; i <= lines; i++) {
        text = code[at + i - 1]
        if (block[i] ~ /^ *$/ && text ~ /^ *$/) continue
        if (more < 0) more = indent_of(text) - indent_of(block[i])
        if (more < 0 || indent_of(text) != indent_of(block[i]) + more) return 0
        if (substr(text, more + 1) != block[i]) return 0
      }
      return more >= 0
    }

    function check_block(    at) {
      blocks++
      for (at = 1; at + lines - 1 <= total; at++) if (stands_at(at)) return
      print FILENAME ":" begins ": this block does not stand in a file under " folder
      failed = 1
    }

    # The list of examples comes first, on standard input. A line between two files is in no block.
    FILENAME == "-" {
      while ((getline text < $0) > 0) code[++total] = text
      close($0)
      code[++total] = "end of " $0
      next
    }
    /^ *```/ {
      if (on) { on = 0; check_block() }
      else if (!other && $0 ~ "^ *```(" languages ") *$") { on = 1; lines = 0; begins = FNR }
      else other = !other
      next
    }
    on { block[++lines] = $0 }
    END {
      if (blocks == 0) { print "there is no block of " languages " in " ARGV[2]; failed = 1 }
      exit failed
    }
  ' - "$@"
}

if [ "${1-}" = --self-test ]; then
  page=$(mktemp)
  trap 'rm -f "$page"' EXIT
  right='int main() { IOLoop::current().run_sync(run); }'
  try() { # try EXPECTED FENCE BLOCK
    printf '```cpp\n%s\n```\n```%s\n%s\n```\n' "$right" "$2" "$3" >"$page"
    status=0
    check cpp examples "$page" >/dev/null || status=$?
    [ "$status" = "$1" ] || { echo "check_docs.sh: status $status for the block: $3" && exit 1; }
  }
  try 0 cpp "$right"
  try 1 cpp 'int main() { IOLoop::current().run_sync(walk); }'
  try 1 cpp "  $right"
  try 0 c++ 'no such code'
  try 0 cpp "$(printf 'try {\n  address = co_await look_up(name);')"
  try 1 cpp "$(printf 'try {\naddress = co_await look_up(name);')"
  exit
fi

check cpp examples docs/guide/*.md docs/reference/*.md docs/cookbook.md docs/from-asio.md
check 'cpp|cmake|sh' tests/package docs/install.md
