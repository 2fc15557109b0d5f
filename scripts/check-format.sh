#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks the form of all C files with clang-format, or brings them into it with --fix.
set -eu

cd "$(dirname "$0")/.."
if [ "${1:-}" = --fix ]; then
	set -- -i
else
	set -- --dry-run -Werror
fi

find include src tests examples bench fuzz cli python/ext -name '*.[ch]' -print0 2>/dev/null |
	xargs -0 -r clang-format --style=file "$@"
echo "check-format: all files have their form"
