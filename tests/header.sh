#!/bin/sh
# header.sh INCLUDE_DIR: the public headers compile by themselves, twice over,
# without a warning, in C and C++, with every compiler that is here.
set -u
include=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0
tried=0

for header in "$include"/*.h; do
    name=${header##*/}
    printf '#include <%s>\n#include <%s>\n' "$name" "$name"
done >"$work/all.c"
cat >>"$work/all.c" <<'END'
int use(const asyncore_address *address, asyncore_dispatcher *d);
int use(const asyncore_address *address, asyncore_dispatcher *d)
{
    asyncore_log(d, "%d", 1);
    return address->any.sa_family + d->fd;
}
END
cp "$work/all.c" "$work/all.cc"

try()
{
    command -v "$1" >/dev/null || return 0
    tried=$((tried + 1))
    "$@" -Wall -Wextra -pedantic -Werror -fsyntax-only -I "$include" ||
        { echo "$*"; failed=1; }
}

for compiler in gcc clang musl-gcc; do
    for standard in c11 c17 gnu11 gnu2x; do
        try $compiler -std=$standard "$work/all.c" -Wstrict-prototypes \
            -Wconversion -Wundef
    done
done
for compiler in g++ clang++; do
    for standard in c++11 c++17 c++20; do
        try $compiler -std=$standard "$work/all.cc" -Wconversion -Wundef \
            -Wold-style-cast -Wzero-as-null-pointer-constant
    done
done

[ $tried -gt 0 ] || exit 77
exit $failed
