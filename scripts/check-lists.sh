#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that what the public header declares stands in all the places that the recipes of
# CONTRIBUTING.md name: each option, each code, each call, each framing. With --self-test it tries
# itself: each of them is taken out of each place, and has to be missed.
set -eu

# Calls that Python does not have under their own name, and what it has for them.
not_in_python='
sttcp_client_on_universal	called first by ext/phases.c: universal_handler
sttcp_server_on_universal	called first by ext/phases.c: universal_handler
sttcp_conn_sendf		formats are f-strings
sttcp_conn_set_half_close	what a coroutine that waits has by itself
sttcp_event_name		the name of a HandlerType
sttcp_tls_ref			Python counts references
sttcp_poll			select and time have it; no wait of theirs is ended by force
'

# Options that Python has under another name, or has not.
not_in_hints='
delimiter_size	the length of delimiter
frame_fn	frame
fibers			the state of the interpreter belongs to a thread
fiber_stack_size	likewise
'

# begins_a_line NAME LIST: whether a line of it begins with that word. Without a process: it is asked
# for each call and each option.
begins_a_line()
{
	case $2 in
	*"
$1	"*) return 0 ;;
	esac
	return 1
}

# The fields of sttcp_options, without comments.
options()
{
	sed -n '/^typedef struct sttcp_options {/,/^}/p' include/sttcp.h |
		sed -e 's,/\*.*\*/,,' -e '/\/\*/,/\*\//d' \
			-ne 's/^.*[ *]\([a-z_0-9]*\);.*$/\1/p' |
		grep -v -e '^size$' -e '^sttcp_options$' -e '^$'
}

codes()
{
	sed -n 's/^	\(STTCP_E[A-Z_]*\) = -[0-9].*/\1/p' include/sttcp.h
}

framings()
{
	sed -n 's/^	STTCP_FRAMING_\([A-Z_]*\).*/\1/p' include/sttcp.h
}

# A function's name is the only sttcp_ word that stands right before a parenthesis.
calls()
{
	"${CC:-cc}" -E -P include/sttcp.h | tr '\n' ' ' | grep -o 'sttcp_[a-z0-9_]* *(' |
		tr -d ' (' | sort -u
}

missing()
{
	echo "check-lists: $1 is not in $2" >&2
	failed=1
}

# expect NAME PATTERN FILE...: one of the files has a line with the pattern.
expect()
{
	wanted=$1 pattern=$2
	shift 2
	grep -q -e "$pattern" "$@" && return
	[ $# = 1 ] || set -- "${1%/*}"
	missing "$wanted" "$1"
}

# A list that is nearly empty has not been read: the header looks otherwise now.
expect_many() # NAME NUMBER LIST
{
	[ -z "$only" ] || return 0
	[ "$(echo "$3" | wc -l)" -ge "$2" ] && return
	echo "check-lists: of the header's $1 only these were found:" $3 >&2
	failed=1
}

check_options()
{
	list=${only:-$(options)}
	expect_many options 30 "$list"
	for name in $list; do
		expect "$name" "^	[A-Z_]*($name," src/api/option_rules.c
		[ "$(grep -c "^	[A-Z_]*($name," src/api/option_rules.c)" -le 1 ] || {
			echo "check-lists: $name has more than one rule" >&2
			failed=1
		}
		expect "$name" "^|.*\`$name\`.* |" README.md
		expect "$name" "\\\\fB[a-z0-9_ *]*$name\\\\fP" man/sttcp.3
		expect "$name" "given[.>-]*$name\\>" src/api/options.c
		begins_a_line "$name" "$not_in_hints" && continue
		expect "$name" "FIELD($name," python/ext/options.c
		case $name in
		*_ms) type=Seconds ;;
		*) type= ;;
		esac
		name=${name%_ms}
		expect "$name" "^    $name: $type" python/src/sttcp/_options.py
		expect "$name" "\\<$name\\>" python/src/sttcp/server.py python/src/sttcp/client.py
	done
}

check_codes()
{
	list=${only:-$(codes)}
	expect_many codes 15 "$list"
	for name in $list; do
		expect "$name" "CODE($name)" src/base/error.c
		expect "$name" "\\<$name\\>" man/sttcp.3
		expect "$name" "^${name#STTCP_}: int" python/src/sttcp/_sttcp.pyi
		expect "$name" "_sttcp.${name#STTCP_}\\>" python/src/sttcp/errors.py
		expect "$name" "\\<$name\\>" tests/test_error.c
	done
	# The extension makes its constants in a loop that ends with the last one.
	last=$(codes | tail -n 1)
	expect "$last" "\\<$last\\>" python/ext/module.c
}

check_framings()
{
	list=${only:-$(framings)}
	expect_many framings 5 "$list"
	for name in $list; do
		expect "STTCP_FRAMING_$name" "\\<STTCP_FRAMING_$name\\>" man/sttcp.3
		expect "STTCP_FRAMING_$name" "\\<STTCP_FRAMING_$name\\>" README.md
		expect "STTCP_FRAMING_$name" "\\<STTCP_FRAMING_$name\\>" tests/test_framing.c
		lower=$(echo "$name" | tr A-Z a-z)
		expect "STTCP_FRAMING_$name" "\"$lower\"" python/src/sttcp/_options.py
	done
	# What may be set goes up to the last one.
	last=STTCP_FRAMING_$(framings | tail -n 1)
	expect "$last" "<= $last\\>" src/api/option_rules.c
}

check_calls()
{
	list=${only:-$(calls)}
	expect_many functions 80 "$list"
	for name in $list; do
		expect "$name" "^\\.B.*[ *\"]$name(" man/sttcp.3
		begins_a_line "$name" "$not_in_python" && continue
		grep -qw "$name" python/ext/*.c && continue
		verb=${name#sttcp_}
		for object in server client conn engine; do
			verb=${verb#"${object}_"}
		done
		expect "$name" "^ *def $verb(" python/src/sttcp/*.py*
	done
	[ -z "$only" ] || return 0
	for name in $(echo "$not_in_python" | cut -f1); do
		echo "$list" | grep -qx "$name" || {
			echo "check-lists: $name is no function any more" >&2
			failed=1
		}
	done
}

# A page of the manual is named by the first page of its section, or it is not found.
check_pages()
{
	list=${only:-$(cd man && ls)}
	expect_many 'manual pages' 10 "$list"
	for name in $list; do
		case $name in
		sttcp.*) continue ;;
		*.1) first=man/sttcp.1 ;;
		*) first=man/sttcp.7 ;;
		esac
		page=$(echo "${name%.*}" | sed 's/-/\\\\-/g')
		expect "$name" "^\\(\\.BR \\|.*\\\\fB\\)$page\\( \\|\\\\fP\\)(${name##*.})" "$first"
	done
}

# The recipes name files that are there, and words that stand in them.
check_recipes()
{
	recipes=$(sed -n '/^## Recipes/,/^## Commits/p' CONTRIBUTING.md | grep -o '`[^` ]*`' |
		tr -d '`')
	files=$(echo "$recipes" | grep '^[a-z_]*/' | sort -u)
	words=$(echo "$recipes" | grep -x '[a-z][a-z_]*' | sort -u)
	expect_many 'files of recipes' 20 "$files"
	expect_many 'words of recipes' 10 "$words"
	for name in $files; do
		[ -e "$name" ] || missing "$name" "its place (CONTRIBUTING.md)"
	done
	for name in $words; do
		grep -rqw -e "$name" include src scripts || missing "$name" "any file (CONTRIBUTING.md)"
	done
}

check()
{
	cd "$1"
	failed=0
	check_options
	check_codes
	check_framings
	check_calls
	check_pages
	check_recipes
	[ "$failed" = 0 ]
}

# without CHECK NAME GONE FILE...: that check of this name alone has to fail with each of the files
# without the lines that have GONE in them.
without()
{
	tried=$1 only=$2 gone=$3
	shift 3
	for file in "$@"; do
		cp "$file" "$work/whole"
		grep -v -w -e "$gone" "$work/whole" >"$file" || true
		failed=0
		"$tried" 2>/dev/null
		cp "$work/whole" "$file"
		[ "$failed" = 1 ] && continue
		echo "check-lists: it did not find that $gone is not in $file" >&2
		return 1
	done
}

# added CHECK NUMBER: what is new in the header is missing in so many places.
added()
{
	failed=0
	"$1" 2>"$work/found"
	[ "$(grep -c ' is not in ' "$work/found")" = "$2" ] && return
	echo "check-lists: of what is new in the header this was found:" >&2
	cat "$work/found" >&2
	return 1
}

self_test()
{
	for part in CONTRIBUTING.md README.md abi cli fuzz include man python scripts src tests; do
		cp -r "$1/$part" "$work"
	done
	check "$work" && {
		without check_options idle_timeout_ms idle_timeout_ms src/api/option_rules.c \
			src/api/options.c README.md man/sttcp.3 python/ext/options.c &&
			without check_options idle_timeout_ms idle_timeout python/src/sttcp/_options.py &&
			without check_codes STTCP_ETIME_IDLE STTCP_ETIME_IDLE src/base/error.c \
				man/sttcp.3 tests/test_error.c &&
			without check_codes STTCP_ETIME_IDLE ETIME_IDLE python/src/sttcp/_sttcp.pyi \
				python/src/sttcp/errors.py &&
			without check_framings LENGTH STTCP_FRAMING_LENGTH man/sttcp.3 README.md \
				tests/test_framing.c &&
			without check_framings LENGTH '"length"' python/src/sttcp/_options.py &&
			without check_calls sttcp_conn_flush sttcp_conn_flush man/sttcp.3 &&
			without check_calls sttcp_set_log sttcp_set_log \
				$(grep -lw sttcp_set_log python/ext/*.c) &&
			without check_pages sttcp-fibers.7 'fBsttcp\\-fibers' man/sttcp.7 &&
			without check_pages sttcp-echo.1 'sttcp\\-echo' man/sttcp.1
	} || return 1
	only=
	sed -i 's/^} sttcp_options;/	int32_t brand_new_ms;\n&/
		s/^	STTCP_EDESTROYED = .*/	STTCP_EBRAND_NEW = -6000,\n&/
		s/^	STTCP_FRAMING_LENGTH.*/	STTCP_FRAMING_BRAND_NEW,\n&/
		s/^STTCP_API uint64_t sttcp_conn_id(/STTCP_API int sttcp_conn_brand_new(sttcp_conn *conn);\n&/' \
		include/sttcp.h
	mv fuzz elsewhere
	added check_options 7 && added check_codes 5 && added check_framings 4 &&
		added check_calls 2 && added check_recipes 1
}

# One name that is looked for; empty: all.
only=
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
--self-test) self_test "$root" && echo "check-lists: the check finds what it has to" ;;
*) check "$root" && echo "check-lists: all that the header declares is in all lists" ;;
esac
