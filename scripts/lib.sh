# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the scripts share; sourced, not run. Sets `root`, the folder of the repository, and enters it.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# What it takes to build everything on Debian, for install_missing.
# shellcheck disable=SC2034
build_packages=(cmake:cmake g++:g++ ninja:ninja-build libasio-dev libfmt-dev libpcre2-dev
  doctest-dev libssl-dev openssl curl) # the last two for tests of TLS

say() {
  printf '==> %s\n' "$*" >&2
}

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# install_missing [COMMAND:]PACKAGE...: installs the Debian packages that are not there. One with a
# COMMAND counts as there when the command is, wherever that came from. On systems without apt this
# does nothing, and the build says what it misses.
install_missing() {
  local item missing=() as_root=()
  command -v apt-get >/dev/null || return 0
  for item; do
    if [[ $item == *:* ]]; then
      command -v "${item%%:*}" >/dev/null && continue
    else
      [[ $(dpkg-query -W -f '${db:Status-Status}' "$item" 2>/dev/null) == installed ]] && continue
    fi
    missing+=("${item#*:}")
  done
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "not root, and no sudo: please install ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing ${missing[*]}"
  local log apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -q -o DPkg::Lock::Timeout=300)
  log=$(mktemp)
  # A failed update is no failure yet: the lists that are there may do.
  "${apt[@]}" update >"$log" 2>&1 </dev/null || true
  if ! "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    fail "could not install ${missing[*]}"
  fi
  rm -f "$log"
}

# A web server for a test, in build/nginx: the package would also start it, on port 80. Where it cannot
# be had, that test is left out.
fetch_nginx() {
  [[ ! -x build/nginx/usr/sbin/nginx && ! -x /usr/sbin/nginx ]] || return 0
  command -v apt-get >/dev/null || return 0
  say "Fetching nginx"
  mkdir -p build/nginx
  (
    cd build/nginx
    apt-get -q download nginx || { apt-get -q update && apt-get -q download nginx; }
    dpkg -x nginx_*.deb .
  ) >/dev/null 2>&1 || say "nginx could not be fetched: the example http_client_raw is not tested"
}

# own_files EXTENSION...: the repository's files of these kinds, each followed by NUL.
own_files() {
  local extension folder names=() folders=()
  for extension; do
    names+=(-o -name "*.$extension")
  done
  for folder in benchmarks docs examples include src tests; do
    [[ ! -d $folder ]] || folders+=("$folder")
  done
  find "${folders[@]}" -type f \( "${names[@]:1}" \) -print0 | sort -z
}
