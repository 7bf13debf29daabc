#!/bin/sh
# snippet.sh SERVER CLIENT: the server, which takes its address from the
# environment, gives back what the client sends.
set -u
work=$(mktemp -d) || exit 1
ADDRESS=unix:$work/socket "$1" &
server=$!
trap 'kill $server; rm -rf "$work"' EXIT

for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -S "$work/socket" ] && break
    sleep 0.2
done
[ "$(echo hello | "$2" "unix:$work/socket")" = hello ]
