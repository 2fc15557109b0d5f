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

DESTDIR=$work/root cmake --install "$build" --prefix "$prefix" >/dev/null
(cd "$work/root" && find . ! -type d | sed 's,^\.,,') >"$work/files"
# Only directories that have the name of this project are its own.
(cd "$work/root" && find . -depth -type d -name 'sttcp*' | sed 's,^\.,,') >"$work/directories"

removed=0
while IFS= read -r file; do
	if [ -e "$root$file" ] || [ -L "$root$file" ]; then
		rm -f "$root$file"
		removed=$((removed + 1))
	fi
done <"$work/files"
while IFS= read -r directory; do
	rmdir "$root$directory" 2>/dev/null || true
done <"$work/directories"
echo "uninstall: $removed files removed"
