#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the library for another kind of system into a directory and runs all tests there:
#
#	scripts/test-port.sh musl|32bit DIRECTORY
#
# musl is another C library than glibc; 32bit is i686, on a machine that runs it. Debian packs no
# cmocka for either: tests/small/ stands in for it. JOBS says how much runs at a time, and twice as
# many tests do. A machine that cannot run such programs only builds them, and that is said.
set -eu

kind=${1:-}
directory=${2:-}
flags=
case $kind:$directory in
musl:?*) compiler=musl-gcc ;;
32bit:?*) compiler=gcc flags=-m32 ;;
*)
	echo "usage: test-port.sh musl|32bit DIRECTORY" >&2
	exit 2
	;;
esac
jobs=${JOBS:-$(nproc)}
cd "$(dirname "$0")/.."
scripts/deps.sh "$kind"
mkdir -p "$directory/small"
directory=$(cd "$directory" && pwd)

"$compiler" $flags -std=c11 -O2 -Wall -Wextra -Itests/small -c -o "$directory/small/cmocka.o" \
	tests/small/cmocka.c
ar rcs "$directory/small/libcmocka.a" "$directory/small/cmocka.o"
cmake -S . -B "$directory" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_C_FLAGS="$flags" \
	-DSTTCP_TESTS=ON -DSTTCP_WERROR=ON -DCMOCKA_INCLUDE="$PWD/tests/small" \
	-DCMOCKA_LIBRARY="$directory/small/libcmocka.a"
cmake --build "$directory" --parallel "$jobs"

# A kernel for 64 bits may be without the means for 32: the shell says so with 126.
result=0
"$directory/tests/test_bytes" >"$directory/first.log" 2>&1 || result=$?
if [ "$result" = 126 ]; then
	cat "$directory/first.log"
	echo "test-port: NOT RUN: this machine executes no $kind programs; all of it was built"
	exit 0
fi
ctest --test-dir "$directory" --parallel $((2 * jobs)) --output-on-failure --no-tests=error
