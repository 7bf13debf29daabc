# shellcheck shell=sh disable=SC2034
# To be sourced. need COMMAND_OR_FILE:PACKAGE... installs, with apt-get, the
# packages of those that are not here, and says so.

need()
{
    missing=
    for pair in "$@"; do
        case $pair in
        /*) [ -e "${pair%%:*}" ] && continue ;;
        *) command -v "${pair%%:*}" >/dev/null 2>&1 && continue ;;
        esac
        missing="$missing ${pair#*:}"
    done
    [ -n "$missing" ] || return 0

    if ! command -v apt-get >/dev/null; then
        echo "Please install:$missing (there is no apt-get here)." >&2
        return 1
    fi
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "Please install, as root: apt-get install$missing" >&2
            return 1
        fi
        sudo=sudo
    fi
    echo "Installing with apt-get:$missing"
    # shellcheck disable=SC2086
    {
        $sudo apt-get -qq update &&
            $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
                -o Dpkg::Use-Pty=0 --no-install-recommends install $missing
    } >"${TMPDIR:-/tmp}/asyncore-apt.$$" 2>&1 </dev/null || {
        cat "${TMPDIR:-/tmp}/asyncore-apt.$$"
        return 1
    }
    rm -f "${TMPDIR:-/tmp}/asyncore-apt.$$"
}

jobs=$(nproc 2>/dev/null || echo 2)

# quietly NAME COMMAND...: keeps the output in build/log/NAME, unless it fails.
quietly()
{
    log=build/log/$1
    shift
    mkdir -p build/log
    "$@" >"$log" 2>&1 </dev/null && return 0
    grep -av -e '^\[ RUN  ' -e '^\[       OK ' "$log" | tail -n 100
    return 1
}
