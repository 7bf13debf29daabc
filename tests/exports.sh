#!/bin/sh
# exports.sh LIBRARY: the shared library exports functions of ours, and
# nothing else: no internal name, and no data that a program could write to.
set -u
symbols=$(nm -D --defined-only "$1" | awk '{ print $2, $3 }')
[ -n "$symbols" ] || exit 1
! echo "$symbols" | grep -Ev '^T (asyncore|asynchat)_[a-z]'
