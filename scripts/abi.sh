#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that the ABI of the shared library is the one that was written down for its version:
#
#	scripts/abi.sh [--write] BUILD
#
# A program that was linked with a version has to run with each later one of the same soname. So a
# public symbol or struct that changes needs a new version; --write then writes that down in abi/,
# and refuses to do so for a version that has been released. With the newest earlier version of the
# same soname it is compared as well: what programs of that would not survive needs another soname.
# Done for x86-64 alone: what a struct looks like elsewhere follows from it.
set -eu

write=
[ "${1:-}" != --write ] || { write=yes && shift; }
build=${1:?usage: abi.sh [--write] BUILD}
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^#define STTCP_VERSION_[A-Z]* *\([0-9]*\)$/\1/p' "$root/include/sttcp.h" |
	paste -sd .)
dump=$root/abi/$version.abi
[ "$(uname -m)" = x86_64 ] || { echo "abi: NOT CHECKED on $(uname -m)" && exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without the paths and lines of whoever built it: these are no part of the ABI.
abidw --exported-interfaces-only --no-show-locs --no-corpus-path --no-comp-dir-path \
	--no-elf-needed --drop-private-types --headers-dir "$root/include" "$build/libsttcp.so" \
	>"$work/absolute"
sed "s|path='$root/|path='|" "$work/absolute" >"$work/abi"

if [ -n "$write" ]; then
	if grep -q "^## \[$version\]" "$root/CHANGELOG.md" && [ -e "$dump" ]; then
		echo "abi: $version is released: raise the version in include/sttcp.h" >&2
		exit 1
	fi
	cp "$work/abi" "$dump"
	echo "abi: the ABI of $version is in ${dump#"$root/"}"
	exit
fi

[ -e "$dump" ] || {
	echo "abi: nothing is written down for $version: make abi" >&2
	exit 1
}
abidiff "$dump" "$work/abi" >"$work/changes" || {
	cat "$work/changes" >&2
	echo "abi: the ABI is not that of $version: raise the version in include/sttcp.h if it has" \
		"been released, and make abi" >&2
	exit 1
}

# New functions break nobody, nor do fields behind the last of a struct whose size the caller gives.
cat >"$work/allowed" <<'END'
[suppress_type]
	name_regexp = ^sttcp_(options|stats|conn_counts|tls_info)$
	has_data_member_inserted_at = end
END
soname=$(sed -n "1s/.* soname='\([^']*\)'.*/\1/p" "$work/abi")
earlier=$(
	cd "$root/abi"
	{ grep -l "soname='$soname'" -- *.abi && echo "$version.abi"; } | sort -u -V |
		sed "/^$version\.abi$/,\$d" | tail -n 1
)
# The suppression looks at where fields are new, and not whether others have moved.
survives()
{
	abidiff --no-added-syms --suppressions "$work/allowed" "$root/abi/$earlier" "$work/abi" \
		>"$work/changes" || return 1
	abidiff --no-added-syms "$root/abi/$earlier" "$work/abi" >"$work/changes" || true
	! grep -q -e 'data member change' -e 'data member deletion' "$work/changes"
}
[ -z "$earlier" ] || survives || {
	cat "$work/changes" >&2
	echo "abi: programs of ${earlier%.abi} would not run with this: change it, or the soname" >&2
	exit 1
}
echo "abi: it is that of $version${earlier:+, and programs of ${earlier%.abi} run with it}"
