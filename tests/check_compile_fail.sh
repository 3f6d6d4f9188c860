#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check_compile_fail.sh FILE COMPILER FLAGS...
#
# Compiles FILE and checks that there is exactly one error, which contains the sentence that the
# comment at the head of FILE gives behind "Expected: ", on that line and those up to the next that
# is no comment or an empty one. "no error" means that the file has to compile.

set -euo pipefail

file=$1
shift

expected=$(awk '
  /^\/\/ Expected: / { found = 1; sub(/^\/\/ Expected: /, ""); text = $0; next }
  found && /^\/\/ / { sub(/^\/\/ /, ""); text = text " " $0; next }
  found { exit }
  END { print text }' "$file")
if [[ -z $expected ]]; then
  echo "$file: its head does not say what is expected"
  exit 1
fi

status=0
output=$("$@" -fsyntax-only "$file" 2>&1) || status=$?
errors=$(grep 'error:' <<<"$output" || true)
count=$(grep -c 'error:' <<<"$output" || true)

if [[ $expected == 'no error' ]]; then
  [[ $status == 0 && $count == 0 ]] && exit
  problem='it does not compile'
elif [[ $status == 0 ]]; then
  problem='it compiles'
elif [[ $count != 1 ]]; then
  problem="it gives $count errors instead of one"
elif [[ $errors != *"$expected"* ]]; then
  problem='the error is another'
else
  exit 0
fi

printf '%s: %s\nexpected: %s\n%s\n' "$file" "$problem" "$expected" "$output" >&2
exit 1
