#!/bin/sh
# SPDX-License-Identifier: MIT
# A program that ends the engine leaves nothing that valgrind could find; for one that does not,
# share/sttcp/sttcp.supp covers what is left: with symbols and without them.
set -eu

. "$STTCP_SOURCE_DIR/tests/valgrind/needs.sh"

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
