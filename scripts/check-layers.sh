#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks that every #include keeps to the layers:
#
#	base <- codec, net, tls <- engine <- conn <- group <- api
#
# A file in src/ may include its own folder and those that stand behind it in scripts/layers, as
# "folder/file.h". OpenSSL is for src/tls/ alone, and so are those of its headers that include it. examples/,
# cli/ and python/ext/ are like a user's: they may include the public header and system headers, and
# cli/ and python/ext/ their own; cli/sha256_openssl.c may include OpenSSL, and python/ext/ api/unread.h.
# A finding is printed as file:line. --self-test checks the check itself.
set -eu

check()
{
	cd "$1"
	find include src examples cli python/ext -name '*.[ch]' 2>/dev/null | sort | while read -r file; do
		awk -v file="$file" -v layers="$layers" '
		BEGIN {
			while ((getline line <layers) > 0) {
				split(line, part, " ")
				if (part[1] != "#")
					may[part[1]] = " " line " "
			}
			split(file, part, "/")
			place = part[1]
			if (place == "src") {
				layer = part[2]
				if (!(layer in may))
					bad(1, "src/" layer " is no layer")
			}
		}
		function bad(line, text) {
			print file ":" line ": " text
			failed = 1
		}
		function exists(path,    ignored, found) {
			found = (getline ignored < path) >= 0
			close(path)
			return found
		}
		# Whether a header of ours includes OpenSSL, itself or by another one.
		function brings_openssl(name,    line, inner, found) {
			if (name in brings)
				return brings[name]
			brings[name] = 0
			while ((getline line <("src/" name)) > 0) {
				if (line !~ /^[ \t]*#[ \t]*include/)
					continue
				inner = line
				sub(/^[^<"]*[<"]/, "", inner)
				sub(/[">].*/, "", inner)
				if (inner ~ /^openssl\// || (line ~ /"/ && brings_openssl(inner)))
					found = 1
			}
			close("src/" name)
			return brings[name] = found + 0
		}
		# What lies in src/ is ours, whatever brackets it stands in: <net/if.h> is the
		# system header only as long as there is no src/net/if.h.
		function judge(name, quoted,    folder, own) {
			if (name == "sttcp.h" && place == "include")
				return "the public header includes the system headers only"
			if (name == "sttcp.h")
				return ""
			if (name ~ /^openssl\// && file == "cli/sha256_openssl.c")
				return ""
			if (name ~ /^openssl\// && layer != "tls")
				return "OpenSSL is for src/tls/ alone"
			if (!quoted && !exists("src/" name))
				return ""
			if (place == "python" && name == "api/unread.h")
				return ""
			own = place == "python" ? "python/ext/" : place "/"
			if (place != "src" && place != "examples" && quoted && name !~ "/" &&
			    exists(own name))
				return ""
			if (place != "src")
				return place "/ may include <sttcp.h> and system headers only"
			if (!quoted)
				return "a project header stands in quotes"
			if (name !~ "^[a-z]+/[^/]+$")
				return "a project header is named \"folder/file.h\""
			folder = name
			sub("/.*", "", folder)
			if (!index(may[layer], " " folder " "))
				return layer " may not include " folder
			if (layer != "tls" && brings_openssl(name))
				return "it includes OpenSSL, which is for src/tls/ alone"
			return ""
		}
		/^[ \t]*#[ \t]*include/ {
			name = $0
			sub(/^[ \t]*#[ \t]*include(_next)?[ \t]*/, "", name)
			open = substr(name, 1, 1)
			if (open != "\"" && open != "<") {
				bad(FNR, "the name of an include is written out")
				next
			}
			name = substr(name, 2)
			sub(/[">].*/, "", name)
			text = judge(name, open == "\"")
			if (text != "")
				bad(FNR, text " (" name ")")
		}
		END { exit failed }' "$file" || echo failed >>"$findings"
	done
	[ ! -s "$findings" ]
}

# One tree, in which each line that ends in "bad" has to be found, and no other.
self_test()
{
	mkdir -p "$work"/include "$work"/examples "$work"/cli "$work"/python/ext
	for layer in $(sed '/^#/d; s/ .*//' "$layers"); do
		mkdir -p "$work/src/$layer"
		echo '#include "sttcp.h"' >"$work/src/$layer/x.h"
	done
	cd "$work"
	printf '#include <stddef.h>\n#include "base/x.h" // bad\n' >include/sttcp.h
	printf '#include "base/x.h"\n#include "codec/x.h" // bad\n' >src/base/x.c
	printf '#include "base/x.h"\n#include "net/x.h" // bad\n' >src/codec/x.c
	printf '#include <net/if.h>\n  #  include "codec/x.h" // bad\n' >src/net/x.c
	printf '#include <openssl/ssl.h>\n#include "tls/outer.h"\n#include "net/x.h" // bad\n' >src/tls/x.c
	printf '#include <openssl/ssl.h>\n' >src/tls/inner.h
	printf '#include "tls/inner.h"\n' >src/tls/outer.h
	printf '#include "net/x.h"\n#include "codec/x.h"\n#include "api/x.h" // bad\n' >src/engine/x.c
	printf '#include "engine/x.h"\n#include "group/x.h" // bad\n' >src/conn/x.c
	printf '#include "tls/x.h"\n#include <openssl/ssl.h> // bad\n' >src/conn/y.c
	printf '#include "tls/inner.h" // bad\n#include "tls/outer.h" // bad\n' >src/conn/z.c
	printf '#include "conn/x.h"\n#include "api/x.h" // bad\n' >src/group/x.c
	printf '#include "group/x.h"\n#include "x.h" // bad\n#include <base/x.h> // bad\n' >src/api/x.c
	printf '#include "../base/x.h" // bad\n#include NAME // bad\n' >src/api/y.c
	printf '#include "ext.h"\n#include <sttcp.h>\n#include "engine/x.h" // bad\n' >python/ext/x.c
	printf '#include <api/unread.h>\n#include "api/x.h" // bad\n' >python/ext/y.c
	: >src/api/unread.h
	: >python/ext/ext.h
	printf '#include "cli.h"\n#include <sttcp.h>\n#include "api/x.h" // bad\n' >cli/x.c
	printf '#include "../src/api/x.h" // bad\n#include <openssl/evp.h> // bad\n' >cli/y.c
	printf '#include <openssl/evp.h>\n#include "tls/inner.h" // bad\n' >cli/sha256_openssl.c
	: >cli/cli.h
	printf '#include <stdio.h>\n#include <base/x.h> // bad\n' >examples/x.c
	printf '#include <openssl/ssl.h> // bad\n' >examples/y.c
	grep -rn bad . | sed 's,^\./,,; s/:[^:]*$//' | sort >"$work/expected"
	(check "$work") >"$work/output" && return 1
	cut -d: -f1,2 "$work/output" | sort >"$work/found"
	diff "$work/expected" "$work/found"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
findings=$work/findings
: >"$findings"

root=$(cd "$(dirname "$0")/.." && pwd)
layers=$root/scripts/layers
case ${1:-} in
--self-test) self_test && echo "check-layers: the check finds what it has to" ;;
*) check "${1:-$root}" && echo "check-layers: every include keeps to the layers" ;;
esac
