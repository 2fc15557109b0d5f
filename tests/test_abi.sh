#!/bin/sh
# SPDX-License-Identifier: MIT
# The check of the ABI finds what programs of an earlier version with the same soname would not
# survive, and nothing else. A small library stands in for this one.
set -eu
command -v abidw >/dev/null && command -v abidiff >/dev/null ||
	{ echo "skipped: abidw and abidiff are not there" && exit 77; }
[ "$(uname -m)" = x86_64 ] || { echo "skipped: not on $(uname -m)" && exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/scripts" "$work/include" "$work/abi" "$work/build"
cp "$STTCP_SOURCE_DIR/scripts/abi.sh" "$work/scripts"
: >"$work/CHANGELOG.md"

# make_version PATCH SONAME FIELDS FUNCTIONS
make_version()
{
	cat >"$work/include/sttcp.h" <<END
#define STTCP_VERSION_MAJOR 0
#define STTCP_VERSION_MINOR 1
#define STTCP_VERSION_PATCH $1
typedef struct sttcp_options {
	unsigned long size;
	$3
} sttcp_options;
int sttcp_first(sttcp_options *options);
$4
END
	{
		echo '#include "sttcp.h"'
		sed -n 's/^int \(.*\);$/int \1 { return options->size > 0; }/p' "$work/include/sttcp.h"
	} >"$work/library.c"
	"${CC:-cc}" -g -shared -fPIC -I"$work/include" -Wl,-soname,"$2" -o "$work/build/libsttcp.so" \
		"$work/library.c"
	"$work/scripts/abi.sh" --write "$work/build" >/dev/null
}

must_break()
{
	if "$work/scripts/abi.sh" "$work/build" >"$work/said" 2>&1; then
		echo "not found: $1" >&2
		exit 1
	fi
	grep -q 'programs of 0\.1\.9 would not run' "$work/said" || { cat "$work/said" >&2 && exit 1; }
}

must_pass()
{
	"$work/scripts/abi.sh" "$work/build" >"$work/said" || { cat "$work/said" >&2 && exit 1; }
}

more='int sttcp_second(sttcp_options *options);'
make_version 9 libsttcp.so.0 'int a, b;' "$more"
must_pass
make_version 10 libsttcp.so.0 'int a, b; long c;' "$more
int sttcp_third(sttcp_options *options);"
must_pass
grep -q 'programs of 0\.1\.9 run with it' "$work/said"
make_version 10 libsttcp.so.0 'int a; long c; int b;' "$more"
must_break 'a field between others'
make_version 10 libsttcp.so.0 'int b; long c;' "$more"
must_break 'a field that is gone'
make_version 10 libsttcp.so.0 'int a, b;' ''
must_break 'a function that is gone'
make_version 10 libsttcp.so.1 'int b;' ''
must_pass
