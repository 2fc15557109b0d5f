#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that each header compiles alone, twice in a row, and that the public one is also C++17.
# Compilers that are not there are passed over, but one of each language has to be.
set -eu

cd "$(dirname "$0")/.."
failed=0

# compile COMPILER LANGUAGE HEADER OPTION...
compile()
{
	compiler=$1 language=$2 header=$3
	shift 3
	# A header of nothing but macros is fine, an empty translation unit is not: hence the last line.
	printf '#include "%s"\n#include "%s"\nextern int nothing;\n' "$header" "$header" |
		"$compiler" -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Werror "$@" \
			-x "$language" - && return
	echo "check-headers: $header does not compile alone ($compiler, $*)" >&2
	failed=1
}

present()
{
	for name in "$@"; do
		! command -v "$name" >/dev/null || echo "$name"
	done
}

c_compilers=$(present gcc clang)
cxx_compilers=$(present g++ clang++)
if [ -z "$c_compilers" ] || [ -z "$cxx_compilers" ]; then
	echo "check-headers: a C and a C++ compiler are needed" >&2
	exit 2
fi

for compiler in $c_compilers; do
	# As a user compiles it, with no feature macro of ours.
	# Padding is no part of a struct that is given values: a field that a later version puts there
	# would have any value in earlier programs. So it has names, where pointers have 64 bits.
	padded=-Wpadded
	[ "$(getconf LONG_BIT)" = 64 ] || padded=
	compile "$compiler" c sttcp.h -std=c11 -Iinclude -Wconversion $padded
	for header in $(find src -name '*.h' | sort); do
		compile "$compiler" c "${header#src/}" -std=c11 -D_GNU_SOURCE -Iinclude -Isrc
	done
	for header in $(find tests -name '*.h' | sort); do
		compile "$compiler" c "${header#tests/}" -std=gnu11 -D_GNU_SOURCE -Iinclude -Isrc -Itests
	done
	for header in $(find cli -name '*.h' | sort); do
		compile "$compiler" c "${header#cli/}" -std=c11 -D_GNU_SOURCE -Iinclude -Icli
	done
done
for compiler in $cxx_compilers; do
	compile "$compiler" c++ sttcp.h -std=c++17 -Iinclude
done
[ "$failed" = 0 ] && echo "check-headers: every header compiles alone"
