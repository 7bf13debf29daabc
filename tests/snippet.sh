#!/bin/sh
# snippet.sh SERVER CLIENT [SENT GOT]: the server, which takes its address from
# the environment, gives the client GOT for SENT, a format of printf.
set -u
work=$(mktemp -d) || exit 1
ADDRESS=unix:$work/socket "$1" &
server=$!
trap 'kill $server; rm -rf "$work"' EXIT

# Until it listens, the client is refused.
tries=0
while [ $((tries += 1)) -le 100 ]; do
    # shellcheck disable=SC2059
    got=$(printf "${3-hello}" | "$2" "unix:$work/socket" 2>"$work/errors")
    [ "$got" = "${4-hello}" ] && exit
    sleep 0.2
done
cat "$work/errors"
exit 1
