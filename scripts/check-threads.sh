#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks the locking with clang's -Wthread-safety, which reads the annotations of the lock wrappers;
# and that no function is called _locked without saying to clang which lock that is.
set -eu

cd "$(dirname "$0")/.."

# A static function says it where it stands, a shared one in its header.
unsaid=$(find src -name '*.[ch]' | sort | while read -r file; do
	awk -v file="$file" '
	/^[a-z].*[a-z]_locked\(/ {
		text = ""
		first = FNR
		open = 1
	}
	open {
		text = text $0
		if (text ~ /[;{]/) {
			open = 0
			shared = file ~ /\.c$/ && text !~ /^static/
			if (!shared && text !~ /STT_(REQUIRES|RELEASE)\(/)
				print file ":" first ": called _locked, but no STT_REQUIRES says by which lock"
		}
	}' "$file"
done)
if [ -n "$unsaid" ]; then
	echo "$unsaid"
	exit 1
fi

find src -name '*.c' -print0 | sort -z | xargs -0 -n 1 \
	clang -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -fsyntax-only -Wthread-safety -Werror
echo "check-threads: no finding"
