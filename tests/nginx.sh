#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A real web server for run_example.sh, on a free port of 127.0.0.1, with one page: nginx.sh NGINX
set -euo pipefail

folder=$(mktemp -d)
stop() {
  [[ ! -e $folder/nginx.pid ]] || kill "$(<"$folder/nginx.pid")" 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 0' TERM INT

mkdir "$folder/pages"
echo 'Hello from nginx' >"$folder/pages/index.html"
user=
((EUID != 0)) || user='user root;' # who may read a folder of root's

# nginx takes no port 0. It goes into the background when it listens, and not before.
for attempt in {1..50}; do
  port=$((20000 + (RANDOM * 7 + attempt) % 10000))
  cat >"$folder/nginx.conf" <<CONF
$user
worker_processes 1;
pid $folder/nginx.pid;
error_log $folder/error.log;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path $folder/body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  server {
    listen 127.0.0.1:$port;
    root $folder/pages;
  }
}
CONF
  if "$1" -p "$folder" -e "$folder/error.log" -c "$folder/nginx.conf" 2>/dev/null; then
    echo "Listening on 127.0.0.1:$port"
    tail --pid="$(<"$folder/nginx.pid")" -f /dev/null >/dev/null 2>&1 &
    wait $! # which a signal ends at once
    exit 0
  fi
done
cat "$folder/error.log" >&2
exit 1
