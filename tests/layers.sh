#!/bin/sh
# layers.sh SOURCE_DIR OBJECT...: checks that the house is built as laid out.
# Includes point only downwards; only sock and the pollers call the kernel;
# nothing ends the process, changes its signal dispositions or uses stdio.
set -u
cd "$1" || exit 1
shift
failed=0

fail()
{
    echo "$*"
    failed=1
}

# module level
levels='
sock 0
address 0
backoff 1
outqueue 0
poller 1
poller_select 1
poller_poll 1
poller_epoll 1
map 2
extra 2
fork 2
limit 2
stats 2
wakeup 2
resolver 2
timer 2
signals 2
handlers 3
dispatcher 3
interest 3
io 3
listener 3
dispatch 3
guard 3
inspect 3
timeout 3
stop 3
map_life 4
loop 4
connector 5
output 5
dispatcher_with_send 5
file_dispatcher 5
asynchat_impl 6
asynchat 6
asynchat_input 6
asynchat_parser 6
asynchat_deadline 6
asynchat_output 6
asynchat_source 6
'

level()
{
    echo "$levels" | sed -n "s/^$1 //p"
}

for file in *.[ch]; do
    module=${file%.[ch]}
    own=$(level "$module")
    if [ -z "$own" ]; then
        fail "$file: not in the table of levels"
        continue
    fi
    # shellcheck disable=SC2013
    for header in $(sed -n 's/^ *# *include *["<]\([a-z_]*\.h\)[">].*/\1/p' \
        "$file"); do
        case $header in
        asyncore.h)
            case $module in
            sock | poller*) fail "$file: must not know asyncore.h" ;;
            esac
            continue
            ;;
        esac
        [ -e "$header" ] || continue
        other=$(level "${header%.h}")
        [ "${other:-9}" -le "$own" ] ||
            fail "$file: level $own includes $header, level ${other:-unknown}"
    done
done

kernel=' accept accept4 bind clock_gettime close connect dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd fcntl
 fstat getentropy getpeername getpid getsockname getsockopt gettimeofday ioctl isatty listen
lseek nanosleep open openat pipe pipe2 poll ppoll pselect read readv
recvfrom recvmsg select sendfile sendmsg sendto setsockopt shutdown
socket socketpair tcgetattr time usleep write writev '
process=' _exit abort atexit exit fprintf fputs perror printf puts quick_exit
raise setenv sigaction signal sigprocmask stderr stdout vfprintf '

# These two are inline in sock.h, so that any object may refer to them.
found=$(grep -nE '(^|[^[:alnum:]_.>])(recv|send)\([^2]' ./*.[ch] |
    grep -v '^\./sock\.')
[ -z "$found" ] || fail "calls of recv and send outside of sock: $found"

for object in "$@"; do
    name=${object##*/}
    case ${name%.o} in
    sock.c | poller_*.c) denied=$process ;;
    signals.c) denied=$kernel$(echo "$process" | sed 's/ sigaction / /') ;;
    *) denied=$kernel$process ;;
    esac
    denied=$(echo "$denied" | tr '\n' ' ')
    # Fortified and 64-bit-offset names are the same functions.
    for symbol in $(nm -u "$object" | awk '{ print $NF }' |
        sed 's/@.*//; s/^__\(.*\)_chk$/\1/; s/^__\(.*\)_time64$/\1/; s/64$//'); do
        case $denied in
        *" $symbol "*) fail "$name: calls $symbol" ;;
        esac
    done
done

exit $failed
