#!/bin/sh
# cmocka.sh PRESET CC [CFLAGS]: builds cmocka, from the distribution's source,
# for a C library or a word size that it is not packaged for, where the preset
# looks for it.
set -eu
preset=$1 cc=$2 flags=${3-}
build=$PWD/build
[ ! -e "$build/cmocka-$preset/lib/libcmocka.a" ] || exit 0

if [ ! -d "$build/cmocka-source" ]; then
    # Package lists of our own, so that the system's stay as they are.
    apt=$build/cmocka-apt
    rm -rf "$apt" "$build/cmocka-source.tmp"
    mkdir -p "$apt/sources" "$apt/lists" "$build/cmocka-source.tmp"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ ! -e "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" \
            >"$apt/sources/${file##*/}"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -e "$file" ] || sed -n 's/^deb /deb-src /p' "$file" \
            >"$apt/sources/${file##*/}.list"
    done
    from_source()
    {
        apt-get -qq -o Dir::Etc::SourceList=/dev/null \
            -o Dir::Etc::SourceParts="$apt/sources" \
            -o Dir::State::Lists="$apt/lists" \
            -o APT::Sandbox::User= "$@"
    }
    from_source update
    (cd "$apt" && from_source source --download-only cmocka)
    tar -xf "$apt"/cmocka_*.orig.tar.?z -C "$build/cmocka-source.tmp" \
        --strip-components 1
    mv "$build/cmocka-source.tmp" "$build/cmocka-source"
fi

cmake -S "$build/cmocka-source" -B "$build/cmocka-$preset/build" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_C_FLAGS="$flags" \
    -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DWITH_STATIC_LIB=ON \
    -DWITH_EXAMPLES=OFF
cmake --build "$build/cmocka-$preset/build" --target cmocka-static
cp -R "$build/cmocka-source/include" "$build/cmocka-$preset"
mkdir -p "$build/cmocka-$preset/lib"
cp "$build/cmocka-$preset/build/src/libcmocka-static.a" \
    "$build/cmocka-$preset/lib/libcmocka.a"
