#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Compares the C++ of the documentation with the examples, which are built and run: each block that
# begins with ```cpp stands, line by line, in a file under examples/, where it may be indented
# further. Declarations, and code that is wrong on purpose, are in ```c++ blocks, which are left
# alone. In docs/install.md each block but a ```console one stands in a file of the tests that install.
#
#     check_docs.sh                  docs/guide, docs/reference, docs/cookbook.md, docs/from-asio.md
#                                    and docs/install.md
#     check_docs.sh --self-test      itself, with blocks that do and do not stand there
set -eu

# Blocks of the LANGUAGES (as a regular expression) in the PAGES stand in the files that are listed on
# standard input.
check() { # check LANGUAGES PAGE...
  languages=$1
  shift
  LC_ALL=C sort | awk -v languages="$languages" '
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
      print FILENAME ":" begins ": this block does not stand in a file that is tested"
      failed = 1
    }

    # The list of files comes first, on standard input. A line between two files is in no block.
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
      if (blocks == 0) { print "there is no block to compare in " ARGV[2]; failed = 1 }
      exit failed
    }
  ' - "$@"
}

check_examples() {
  find examples -name '*.[ch]pp' | check cpp "$@"
}

if [ "${1-}" = --self-test ]; then
  page=$(mktemp)
  trap 'rm -f "$page"' EXIT
  right='int main() { IOLoop::current().run_sync(run); }'
  try() { # try EXPECTED FENCE BLOCK
    printf '```cpp\n%s\n```\n```%s\n%s\n```\n' "$right" "$2" "$3" >"$page"
    status=0
    check_examples "$page" >/dev/null || status=$?
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

status=0
check_examples docs/guide/*.md docs/reference/*.md docs/cookbook.md docs/from-asio.md || status=1
find tests/package examples/readme scripts/test-conan -type f | check 'cpp|cmake|sh|ini' docs/install.md || status=1
exit $status
