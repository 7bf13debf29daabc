#!/bin/sh
# snippet.sh SERVER CLIENT [SENT GOT]: the server, which takes its address from
# the environment, gives the client GOT for SENT, a format of printf.
set -u
work=$(mktemp -d) || exit 1
ADDRESS=unix:$work/socket "$1" &
server=$!
trap 'kill $server; rm -rf "$work"' EXIT

# Until it listens, the client is refused.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    # shellcheck disable=SC2059
    got=$(printf "${3-hello}" | "$2" "unix:$work/socket" 2>"$work/errors")
    [ "$got" = "${4-hello}" ] && exit
    sleep 0.2
done
cat "$work/errors"
exit 1
