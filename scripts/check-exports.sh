#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the shared library in a build directory (build) exports exactly the functions that
# sttcp.h declares: no more, no fewer.
set -eu

build=$(cd "${1:-build}" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The name of a function is the only sttcp_ word that stands right before a parenthesis. The
# sorting is bytewise, as comm needs it the same on both sides.
export LC_ALL=C
"${CC:-cc}" -E -P include/sttcp.h | tr '\n' ' ' | grep -o 'sttcp_[a-z0-9_]* *(' |
	tr -d ' (' | sort -u >"$work/declared"
nm -D --defined-only "$build/libsttcp.so" | awk '$2 != "A" { sub("@.*", "", $3); print $3 }' |
	sort -u >"$work/exported"

failed=0
for name in $(comm -23 "$work/declared" "$work/exported"); do
	echo "check-exports: $name is declared in sttcp.h but not exported" >&2
	failed=1
done
for name in $(comm -13 "$work/declared" "$work/exported"); do
	echo "check-exports: $name is exported but not declared in sttcp.h" >&2
	failed=1
done
[ -s "$work/declared" ] || failed=1
[ "$failed" = 0 ] && echo "check-exports: $(wc -l <"$work/exported") functions, all of them declared"
