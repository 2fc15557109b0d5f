#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Removes what "make install" with the same PREFIX and DESTDIR has installed:
#
#	scripts/uninstall.sh BUILD PREFIX [DESTDIR]
#
# What is removed is what an installation of this build would bring; nothing else is touched, and no
# directory goes that is not empty.
set -eu

build=${1:?usage: uninstall.sh BUILD PREFIX [DESTDIR]}
prefix=${2:?usage: uninstall.sh BUILD PREFIX [DESTDIR]}
root=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DESTDIR=$work cmake --install "$build" --prefix "$prefix" >/dev/null
removed=0
for file in $(cd "$work" && find . ! -type d | sed 's,^\.,,'); do
	if [ -e "$root$file" ] || [ -L "$root$file" ]; then
		rm -f "$root$file"
		removed=$((removed + 1))
	fi
done
# Only directories that have the name of this project are its own.
(cd "$work" && find . -depth -type d -name 'sttcp*' | sed 's,^\.,,') | while read -r directory; do
	rmdir "$root$directory" 2>/dev/null || true
done
echo "uninstall: $removed files removed"
