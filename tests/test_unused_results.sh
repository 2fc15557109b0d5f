#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Who ignores a result that must not be ignored is warned, in C and in C++. That the programs which the
# documents show do not is for test_docs.sh.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$STTCP_SOURCE_DIR
# shellcheck disable=SC2086 # flags are words on purpose
compile()
{
	"$@" ${CFLAGS:-} -I"$root/include" -Wall -Wextra -Werror -c -o /dev/null
}

fail()
{
	echo "$*" >&2
	exit 1
}

# ------------------------------------------------------------------ the header

# One declaration a line, with the mark as a word of its own.
"${CC:-cc}" -E -P -DSTTCP_CHECKED=CHECKED -I"$root/include" "$root/include/sttcp.h" |
	tr '\n' ' ' | tr ';' '\n' | grep 'sttcp_[a-z_]* *(' >"$work/declarations"
count=0
for name in $(grep -oE 'sttcp_[a-z_]+ *\(' "$work/declarations" | tr -d ' (' | sort -u |
	grep -E '_(server|client)_(start|on_[a-z]+|add_[a-z]+|set_[a-z]+)$|_configure$|_set_framing$'); do
	count=$((count + 1))
	grep -w "$name" "$work/declarations" | grep -qw CHECKED || fail "$name may be ignored"
done
[ "$count" -ge 20 ] || fail "only $count functions were found in the header"

printf '#include <sttcp.h>\nint ignores(sttcp_server *server);\nint ignores(sttcp_server *server)
{\n\tsttcp_server_start(server);\n\treturn 0;\n}\n' >"$work/ignores.c"
compilers="${CC:-cc} -std=c11 -x c"
if command -v "${CXX:-c++}" >/dev/null; then
	compilers="$compilers,${CXX:-c++} -std=c++17 -x c++"
fi
echo "$compilers" | tr ',' '\n' >"$work/compilers"
while read -r compiler; do
	# shellcheck disable=SC2086
	! compile $compiler "$work/ignores.c" 2>"$work/err" || fail "$compiler does not warn"
	grep -q 'sttcp_server_start\|unused-result' "$work/err" || fail "$(cat "$work/err")"
	# shellcheck disable=SC2086
	compile $compiler -DSTTCP_CHECKED= "$work/ignores.c" || fail "$compiler warns all the same"
done <"$work/compilers"
