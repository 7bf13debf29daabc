#!/bin/sh
# run.sh SOURCE_DIR [CC]: installs the library in every way, and builds and
# runs a user's program against each: find_package, pkg-config with a plain
# compiler line, add_subdirectory.
set -eu
source=$(cd "$1" && pwd)
cc=${2:-cc}
user=$source/tests/install
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# Neither the sanitizers of an enclosing build nor a packager's flags.
unset CFLAGS LDFLAGS DESTDIR PKG_CONFIG_PATH

quietly()
{
    "$@" >log 2>&1 || { echo "failed: $*"; cat log; exit 1; }
}

# build_library NAME OPTION...
build_library()
{
    name=$1
    shift
    quietly cmake -S "$source" -B "$name" -DCMAKE_C_COMPILER="$cc" \
        -DCMAKE_BUILD_TYPE=Release -DASYNCORE_BUILD_TESTS=OFF \
        -DASYNCORE_BUILD_EXAMPLES=OFF "$@"
    quietly cmake --build "$name" --parallel 2
}

# links static|shared PROGRAM: the program runs, on the library meant.
links()
{
    "$2" >/dev/null || { echo "$3: does not run"; exit 1; }
    if readelf -d "$2" | grep -q 'NEEDED.*libasyncore'; then
        is=shared
    else
        is=static
    fi
    [ $is = "$1" ] || { echo "$3: linked $is, not $1"; exit 1; }
}

# with_cmake static|shared WHAT OPTION...
with_cmake()
{
    linkage=$1 what=$2
    shift 2
    rm -rf user
    quietly cmake -S "$user" -B user -DCMAKE_C_COMPILER="$cc" "$@"
    quietly cmake --build user
    links "$linkage" user/user "$what"
    echo "ok: $what"
}

# with_pkg_config static|shared WHAT LIBDIR OPTION...
with_pkg_config()
{
    linkage=$1 what=$2 libdir=$3
    shift 3
    PKG_CONFIG_PATH=$libdir/pkgconfig
    export PKG_CONFIG_PATH
    # shellcheck disable=SC2046
    quietly "$cc" -o plain "$user/main.c" \
        $(pkg-config "$@" --cflags --libs asyncore) -Wl,-rpath,"$libdir"
    unset PKG_CONFIG_PATH
    links "$linkage" ./plain "$what"
    echo "ok: $what"
}

build_library static -DCMAKE_INSTALL_LIBDIR=lib
build_library shared -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=ON
"$source/tests/exports.sh" shared/libasyncore.so
echo "ok: exported names"

quietly cmake --install static --prefix "$work/a"
quietly cmake --install shared --prefix "$work/b"
for linkage in static shared; do
    quietly cmake --install $linkage --prefix "$work/first"
done
# Found where it was moved to, or not at all.
mv first both

for header in "$source"/include/*.h; do
    cmp "$header" "a/include/${header##*/}"
done

with_cmake static "find_package, static" -DCMAKE_PREFIX_PATH="$work/a"
with_cmake shared "find_package, shared" -DCMAKE_PREFIX_PATH="$work/b"
with_cmake static "find_package, both" -DCMAKE_PREFIX_PATH="$work/both"
with_cmake shared "find_package, both, BUILD_SHARED_LIBS" \
    -DCMAKE_PREFIX_PATH="$work/both" -DBUILD_SHARED_LIBS=ON
for linkage in static shared; do
    with_cmake $linkage "find_package, both, COMPONENTS $linkage" \
        -DCMAKE_PREFIX_PATH="$work/both" -DCOMPONENTS=$linkage
done
if cmake -S "$user" -B user -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_PREFIX_PATH="$work/a" -DCOMPONENTS=shared --fresh >log 2>&1; then
    echo "find_package found a shared library that is not there"
    exit 1
fi
with_cmake static "add_subdirectory, static" -DASYNCORE_SOURCE="$source"
with_cmake shared "add_subdirectory, shared" -DASYNCORE_SOURCE="$source" \
    -DBUILD_SHARED_LIBS=ON

quietly "$cc" -I "$source/include" "$user/main.c" static/libasyncore.a \
    -pthread -o plain
links static ./plain "a compiler alone"
echo "ok: a compiler alone"

if ! command -v pkg-config >/dev/null; then
    echo "skipped: pkg-config is not here"
    exit 0
fi
with_pkg_config static "pkg-config, static" "$work/a/lib"
with_pkg_config shared "pkg-config, shared" "$work/b/lib"
with_pkg_config shared "pkg-config, both, moved" "$work/both/lib"
with_pkg_config static "pkg-config --static, everything static" \
    "$work/a/lib" --static

# A distribution's layout: an absolute library directory, staged.
build_library static -DCMAKE_INSTALL_PREFIX=/opt/asyncore \
    -DCMAKE_INSTALL_LIBDIR=/opt/lib64
DESTDIR=$work/stage
export DESTDIR
quietly cmake --install static
unset DESTDIR
PKG_CONFIG_PATH=$work/stage/opt/lib64/pkgconfig
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags --libs asyncore)
case $flags in
*-I/opt/asyncore/include*-L/opt/lib64*) echo "ok: absolute directories" ;;
*) echo "absolute directories: $flags"; exit 1 ;;
esac
