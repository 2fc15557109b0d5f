#!/bin/sh
# SPDX-License-Identifier: MIT
# Each option of the header stands in every list of options: who adds one and forgets the rule gets
# an option that is never checked, without a word.
set -eu
cd "$STTCP_SOURCE_DIR"

# The fields of sttcp_options, without comments.
fields=$(sed -n '/^typedef struct sttcp_options {/,/^}/p' include/sttcp.h |
	sed -e 's,/\*.*\*/,,' -e '/\/\*/,/\*\//d' -ne 's/^.*[ *]\([a-z_0-9]*\);.*$/\1/p' |
	grep -v -e '^size$' -e '^sttcp_options$' -e '^$')
[ "$(echo "$fields" | wc -l)" -ge 30 ] || { echo "only these were found: $fields"; exit 1; }

failed=0
expect() # FIELD FILE PATTERN
{
	grep -q -e "$3" "$2" || { echo "$1 is not in $2"; failed=1; }
}

for field in $fields; do
	expect "$field" src/api/option_rules.c "^	[A-Z_]*($field,"
	[ "$(grep -c "^	[A-Z_]*($field," src/api/option_rules.c)" -le 1 ] ||
		{ echo "$field has more than one rule"; failed=1; }
	expect "$field" README.md "^|.*\`$field\`.* |"
	expect "$field" man/sttcp.3 "\\\\fB[a-z0-9_ *]*$field\\\\fP"
	case $field in
	delimiter_size | frame_fn) ;; # go with others there
	*) expect "$field" python/ext/options.c "FIELD($field," ;;
	esac
done
exit $failed
