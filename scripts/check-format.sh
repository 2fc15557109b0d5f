#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks the form of all C files with clang-format, or brings them into it with --fix; and that a
# shell can read all scripts.
set -eu

cd "$(dirname "$0")/.."
if [ "${1:-}" = --fix ]; then
	set -- -i
else
	set -- --dry-run -Werror
fi

find include src tests examples bench fuzz cli python/ext -name '*.[ch]' -print0 2>/dev/null |
	xargs -0 -r clang-format --style=file "$@"

# A shell reads a script as it runs it, so a mistake shows only to whoever comes there. In the shell
# that the first line names: what one takes is an error to another. A script without such a line is
# read by others.
find .ci scripts tests models debian -name '*.sh' -o -path .ci/run | while read -r script; do
	case $(head -n 1 "$script") in
	'#!'*bash) bash -n "$script" ;;
	'#!'*) sh -n "$script" ;;
	esac
done
echo "check-format: all files have their form"
