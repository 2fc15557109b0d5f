#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Compiles every block of code that the documents show, and runs those that are programs: docs/run.py,
# with the library installed in a directory of its own. And it fails when a block does not do what it says.
set -eu

python=/usr/bin/python3
[ -x "$python" ] || python=python3
if ! command -v "$python" >/dev/null || ! command -v bash >/dev/null; then
	echo "NOT TESTED: $python or bash is not there"
	[ "${STTCP_ALL_PEERS:-}" = 1 ] && exit 1
	exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/sttcp-docs.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$STTCP_SOURCE_DIR
run="$python -B $root/tests/docs/run.py"

# Programs of users are built for this machine, without a sanitizer.
if [ "${STTCP_BITS:-64}" = 64 ] && [ "${CC##*/}" != musl-gcc ]; then
	cmake --install "$STTCP_BUILD_DIR" --prefix "$work/prefix" >/dev/null
	STTCP_PREFIX=$work/prefix
	export STTCP_PREFIX
fi
$run

# ------------------------------------------------- what is wrong has to be found

mkdir -p "$work/tree/tests" "$work/tree/python" "$work/tree/examples"
cp -R "$root/README.md" "$root/Makefile" "$root/docs" "$root/man" "$root/include" "$root/bench" "$work/tree"
cp -R "$root/tests/docs" "$work/tree/tests"
cp "$root/python/README.md" "$work/tree/python"
cp "$root/examples/README.md" "$work/tree/examples"

# must_fail FILE SED TEXT ARGUMENTS...: with this edit the run fails, and says so.
must_fail()
{
	file=$work/tree/$1
	edit=$2
	text=$3
	shift 3
	cp "$file" "$work/kept"
	sed "$edit" "$work/kept" >"$file"
	! cmp -s "$file" "$work/kept" || { echo "$edit changes nothing" >&2 && exit 1; }
	if STTCP_TEST_OUTPUT_S=3 $run --root "$work/tree" "$@" >"$work/out" 2>&1; then
		echo "not found: $edit in $file" >&2
		exit 1
	fi
	grep -q "$text" "$work/out" || { cat "$work/out" >&2 && exit 1; }
	cp "$work/kept" "$file"
}

must_fail README.md 's/sttcp_conn_join(conn, "lobby") == 0/sttcp_conn_joins(conn) == 0/' 'sttcp_conn_joins' \
	--only nothing README.md
must_fail python/README.md 's/^def echo(address, connection, data):$/def echo(address:/' 'no Python' --only nothing python/README.md
must_fail man/sttcp.3 's/^\.B "int sttcp_conn_close(sttcp_conn \*conn);"/.B "void sttcp_conn_close(sttcp_conn *conn);"/' \
	'conflicting types' --only nothing man/sttcp.3
must_fail include/sttcp.h 's/^ \*\t	sttcp_conn_send(conn, data, size);/ *\t	sttcp_conn_send(conn, data);/' \
	'too few arguments' --only nothing include/sttcp.h
must_fail man/sttcp.3 's/^\.B "    size_t skip, size, total;"/.B "    size_t size, skip, total;"/' 'not as in the header' \
	--only nothing man/sttcp.3
if [ -x "$STTCP_BUILD_DIR/cli/sttcp" ]; then
	must_fail man/sttcp-exec.1 's/^sttcp exec \\-\\-max/sttcp exec \\-\\-most/' 'no option --most' \
		--only nothing man/sttcp-exec.1
fi
must_fail README.md 's/^    make test /    make tests /' 'no target tests' --only nothing README.md
if [ -n "${STTCP_PREFIX:-}" ]; then
	must_fail README.md 's/sttcp::sttcp/sttcp::library/' 'sttcp::library' --only nothing README.md
fi
case ${CFLAGS:-} in
*-fsanitize=*) exit 0 ;;
esac
[ -n "${STTCP_PREFIX:-}" ] && unshare -rn true 2>/dev/null || exit 0
# What does not come is waited for, a few seconds here; a compiler has its time.
must_fail docs/guide.md 's/^Meow!$/Woof!/' 'expected: Woof!' --only Echo docs/guide.md
must_fail docs/guide.md 's/sttcp_conn_send(conn, data, size);/sttcp_conn_send(conn, data, 1);/' 'came: *M' \
	--only Echo docs/guide.md
# A rule of fibers whose program does not break it.
must_fail man/sttcp-fibers.7 's/^number is 0$/number is 7/' 'expected: number is 7' --only RULES man/sttcp-fibers.7
must_fail man/sttcp-fibers.7 's/^_Thread_local int number;$/static int number;/' 'came: *number is 7' \
	--only RULES man/sttcp-fibers.7
must_fail man/sttcp-fibers.7 's/ local\.c stage\.o/ local.c/; s/^\$ \.\/local$/$ true/' 'nothing runs this program' \
	--only nothing man/sttcp-fibers.7
must_fail docs/guide.md '/^\$ \.\/echo &$/d; s/^\$ cc -o echo echo.c.*/$ true/' 'nothing runs this program' --only Echo docs/guide.md
