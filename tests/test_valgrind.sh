#!/bin/sh
# SPDX-License-Identifier: MIT
# A program that ends the engine leaves nothing that valgrind could find; for one that does not,
# share/sttcp/sttcp.supp covers what is left: with symbols and without them.
set -eu

command -v valgrind >/dev/null || { echo "skipped: valgrind is not there" && exit 77; }
case ${CFLAGS:-} in
*-fsanitize=*) echo "skipped: valgrind cannot run what a sanitizer is in" && exit 77 ;;
esac
# The suppressions are for what glibc keeps of threads and of names.
echo '#include <features.h>' | ${CC:-cc} -E -dM - | grep -q __GLIBC__ ||
	{ echo "skipped: the C library is not glibc" && exit 77; }

[ "${STTCP_BITS:-64}" = 64 ] ||
	{ echo "skipped: valgrind wants the symbols of a C library of $STTCP_BITS bits" && exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile="${CC:-cc} -std=c11 -D_GNU_SOURCE -g -O1 -I$STTCP_SOURCE_DIR/include"
program=$STTCP_SOURCE_DIR/tests/valgrind/program.c
suppressions=$STTCP_SOURCE_DIR/share/sttcp/sttcp.supp

check()
{
	echo "$*"
	valgrind -q --leak-check=full --num-callers=40 --error-exitcode=9 "$@"
}

# What a static program needs.
private=$(sed -n 's/^Libs.private: //p' "$STTCP_BUILD_DIR/sttcp.pc")
# shellcheck disable=SC2086
$compile -o "$work/static" "$program" "$STTCP_BUILD_DIR/libsttcp.a" $private
# Here what is still reachable is an error, too.
all='--show-leak-kinds=all --errors-for-leak-kinds=all'
# shellcheck disable=SC2086 # options are words on purpose
check $all "$work/static" shutdown
check --suppressions="$suppressions" "$work/static" leave

cp -P "$STTCP_BUILD_DIR"/libsttcp.so* "$work"
strip --strip-unneeded "$work"/libsttcp.so.*.*
$compile -o "$work/shared" "$program" -L"$work" -lsttcp -Wl,-rpath,"$work" -pthread
# shellcheck disable=SC2086
check $all "$work/shared" shutdown
check --suppressions="$suppressions" "$work/shared" leave

# Without the suppressions there is something to be told.
if check "$work/static" leave >/dev/null 2>&1; then
	echo "nothing to suppress" >&2
	exit 1
fi
