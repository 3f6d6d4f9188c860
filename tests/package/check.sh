#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Does what docs/install.md says, in empty folders: builds the library and installs it, static and
# shared, and builds and runs the programs that use it. Those that use the installed one do so in
# another folder, with a copy of what was installed, when the folder that it came from has gone.
#
#     check.sh      in a temporary folder, which is removed

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

package=$root/tests/package
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CCACHE_BASEDIR=$work # another one each time
! command -v ccache >/dev/null || export CMAKE_CXX_COMPILER_LAUNCHER=ccache

# use NAME: builds and runs the program of that folder, in $work/use.
use() {
  say "$1"
  rm -rf "$work/use/hello"
  mkdir -p "$work/use/hello"
  cp "$package/main.cpp" "$work/use/hello"
  [[ ! -f $package/$1/CMakeLists.txt ]] || cp "$package/$1/CMakeLists.txt" "$work/use/hello"
  (cd "$work/use" && sh "$package/$1/build.sh") >"$work/log" 2>&1 || fail_with_log "$1 failed"
  [[ $(tail -n 1 "$work/log") == hello ]] || fail_with_log "$1 did not say hello"
}

fail_with_log() {
  cat "$work/log" >&2
  fail "$1"
}

# refused FOLDER SENTENCE ARGUMENTS...: that find_package(tornado-asio ARGUMENTS...), with the package
# in FOLDER, fails and says so.
refused() {
  echo "find_package(tornado-asio ${*:3} REQUIRED CONFIG PATHS \"$1\" NO_DEFAULT_PATH)" >"$work/find.cmake"
  ! cmake -P "$work/find.cmake" >"$work/log" 2>&1 || fail_with_log "find_package ${*:3} succeeded"
  tr -s ' \n' ' ' <"$work/log" | grep -qF "$2" || fail_with_log "find_package ${*:3} did not say: $2"
}

# A clone of what is to be tested, be it committed or not.
mkdir -p "$work/make/tornado-asio"
tar -c --exclude=./build --exclude=./.git . | tar -x -C "$work/make/tornado-asio"
git -C "$work/make/tornado-asio" init -q
git -C "$work/make/tornado-asio" add .
git -C "$work/make/tornado-asio" -c user.name=test -c user.email=test@localhost commit -q -m test

for shared in OFF ON; do
  say "The library, BUILD_SHARED_LIBS=$shared"
  cmake -S "$work/make/tornado-asio" -B "$work/make/build" -DBUILD_SHARED_LIBS=$shared >"$work/log" 2>&1 ||
    fail_with_log "the library could not be configured"
  (cd "$work/make" && sh "$package/install.sh") >"$work/log" 2>&1 ||
    fail_with_log "the library could not be installed"
  rm -rf "$work/use"
  mkdir "$work/use"
  mv "$work/make/prefix" "$work/use"
  mv "$work/make" "$work/elsewhere"
  if grep -rlF "$work" "$work/use/prefix"; then
    fail "these installed files name the folder in which they were made"
  fi
  use find_package
  use pkg_config
  mv "$work/elsewhere" "$work/make"
done

installed=$(dirname "$(find "$work/use/prefix" -name tornado-asio-config.cmake)")
refused "$installed" 'compatible with requested version "0.2"' 0.2
refused "$installed" "this tornado-asio has no http" COMPONENTS http
cmake -S . -B "$work/small" -DTORNADO_WITH_TLS=OFF -DTORNADO_BUILD_TESTS=OFF >/dev/null
refused "$work/small" "this tornado-asio has no tls" COMPONENTS core tls

rm -rf "$work/use/prefix"
mv "$work/make/tornado-asio" "$work/use"
use add_subdirectory
use fetch_content
