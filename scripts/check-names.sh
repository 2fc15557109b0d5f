#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that what docs/internals.md and the models name is there: each file, each name of the source
# in backticks or, in a model, in a comment; and that internals.md names each file of conn/ and group/
# where it tells in which order they call each other. --self-test takes names away, which have to be
# missed. And that docs/from-python.md has each public name of the Python package, and none that the
# header does not have.
set -eu
export LC_ALL=C

# Words of some files, one a line and sorted.
words()
{
	cat "$@" | tr -cs 'A-Za-z0-9_' '\n' | sort -u
}

# The words in the comments of a model, with the names of files.
comments()
{
	awk '/\/\*/ { inside = 1 }
		inside { text = $0; sub(/.*\/\*/, "", text); sub(/\*\/.*/, "", text); print text }
		/\*\// { inside = 0 }' "$1" | tr -cs 'A-Za-z0-9_./' '\n' | sed 's,[./]*$,,' | sort -u
}

# in_backticks FILE...: the words between them, without what is no word.
in_backticks()
{
	cat "$@" | grep -o '`[^`]*`' | tr -d '`' | tr ' ,()>' '\n\n\n\n\n' | sort -u
}

files_of()
{
	grep -x '[A-Za-z0-9_/-]*\.\([ch]\|py\|sh\|pml\|txt\)'
}

# tell PLACE: each line that comes is missing.
tell()
{
	while read -r name; do
		echo "check-names: $1 names $name, which is not there"
	done
}

# Of the files that come, those that are not there.
not_there()
{
	comm -23 - "$work/files"
}

find_missing()
{
	words src/*/*.[ch] src/sttcp.map include/*.h cli/*.[ch] python/ext/*.[ch] python/*/*.py \
		python/src/sttcp/*.py tests/*.[ch] tests/*/*.[ch] >"$work/all"
	words src/*/*.[ch] src/sttcp.map include/*.h >"$work/source"
	# Each under all names that it may have here: conn/life.c is life.c, too.
	find src include cli python tests scripts models docs bench ! -type d |
		awk -F / '{ name = $NF; print name; for (i = NF - 1; i; i--) print name = $i "/" name }' |
		sort -u >"$work/files"

	in_backticks docs/internals.md >"$work/named"
	grep -x '[A-Za-z][A-Za-z0-9_]*' "$work/named" | comm -23 - "$work/all" | tell docs/internals.md
	files_of <"$work/named" | not_there | tell docs/internals.md
	in_backticks models/README.md | files_of | not_there | tell models/README.md
	for model in models/*.pml; do
		comments "$model" >"$work/named"
		grep -x '[a-z][a-z0-9]*\(_[a-z0-9]*\)\+' "$work/named" | comm -23 - "$work/source" |
			tell "$model"
		files_of <"$work/named" | not_there | tell "$model"
	done

	sed -n '/^## Layers/,/^|/p' docs/internals.md >"$work/layers.md"
	in_backticks "$work/layers.md" >"$work/named"
	for file in src/conn/*.c src/group/*.c; do
		name=${file##*/}
		grep -qx "${name%.c}" "$work/named" ||
			echo "check-names: docs/internals.md, under Layers, leaves out $file"
	done
	find_missing_python
}

# The public names of the package: sttcp.dial is "dial", a method with what it is a method of.
of_python()
{
	sed -n '/^__all__/,/^]/p' python/src/sttcp/__init__.py | grep -o '"[A-Za-z_]*"' | tr -d '"'
	awk 'BEGIN {
			objects["Group"] = objects["Server"] = "server"
			objects["Client"] = "client"
			objects["Connection"] = objects["ConnectionBase"] = "connection"
			objects["Timer"] = "timer"
			objects["TLS"] = "tls"
		}
		/^[^ #]/ { object = "" }
		/^class / { sub(/[(:].*/, "", $2); object = objects[$2] }
		object != "" && /^    def [a-z]/ { sub(/\(.*/, "", $2); print object "." $2 }' \
		python/src/sttcp/*.py python/src/sttcp/_sttcp.pyi
}

find_missing_python()
{
	grep -o '`[^`]*`' docs/from-python.md | tr -cs 'A-Za-z0-9_.' '\n' | sed 's/^\.*//; s/\.*$//' |
		sed 'p; s/^sttcp\.//' | sort -u >"$work/named"
	of_python | sort -u >"$work/python"
	[ "$(wc -l <"$work/python")" -ge 100 ] || echo "check-names: only these names of Python's were found:" \
		$(cat "$work/python")
	comm -23 "$work/python" "$work/named" | while read -r name; do
		echo "check-names: docs/from-python.md leaves out $name"
	done
	grep -i -x 'sttcp_[a-z0-9_]*[a-z0-9]' "$work/named" | comm -23 - "$work/source" |
		tell docs/from-python.md
}

check()
{
	cd "$1"
	find_missing >"$work/missing"
	[ ! -s "$work/missing" ] || { cat "$work/missing" >&2 && return 1; }
}

# without FILE EDIT NAME: this name has to be missed.
without()
{
	cp "$1" "$work/whole"
	sed "$2" "$work/whole" >"$1"
	find_missing >"$work/missing"
	cp "$work/whole" "$1"
	grep -q "$3" "$work/missing" && [ "$(wc -l <"$work/missing")" = 1 ] && return
	echo "check-names: after $2 in $1 this was found, and not $3 alone:" >&2
	cat "$work/missing" >&2
	return 1
}

self_test()
{
	mkdir "$work/tree"
	for part in src include cli python tests scripts models docs bench; do
		cp -r "$1/$part" "$work/tree"
	done
	check "$work/tree" &&
		without docs/internals.md 's/`go_on_ending`/`go_on_ended`/' go_on_ended &&
		without docs/internals.md 's,`conn/life\.c`,`conn/lives.c`,' 'conn/lives\.c' &&
		without docs/internals.md 's/`handshake`, `run_tasks`/`run_tasks`/' conn/handshake.c &&
		without docs/from-python.md 's/`connection.recv_message`, //' connection.recv_message &&
		without docs/from-python.md 's/`sttcp.sleep(seconds)`/sleep/' 'out sleep' &&
		without docs/from-python.md 's/`sttcp_conn_id`/`sttcp_conn_number`/' sttcp_conn_number &&
		without models/README.md 's/`wait_open\.c`/`open.c`/' 'open\.c' &&
		without models/conn.pml 's,/\* stt_conn_unref \*/,/* stt_conn_forget */,' stt_conn_forget &&
		without models/tasks.pml 's/run_tasks\.c/run_task.c/' 'run_task\.c'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
--self-test) self_test "$root" && echo "check-names: the check finds what it has to" ;;
*) check "$root" && echo "check-names: what internals.md and the models name is there, and so is what Python has" ;;
esac
