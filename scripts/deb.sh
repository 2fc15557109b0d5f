#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the packages for Debian out of a tarball of what is committed, and has lintian look at them:
#
#	scripts/deb.sh DIRECTORY
set -eu

target=${1:?usage: deb.sh DIRECTORY}
mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tarball=$(scripts/dist.sh "$work")
version=$(basename "$tarball" .tar.gz)
version=${version#sttcp-}
tar -x -f "$tarball" -C "$work"
cd "$work/sttcp-$version"
packaged=$(dpkg-parsechangelog -S Version)
[ "$packaged" = "$version" ] || {
	echo "deb: debian/changelog begins with $packaged, but this is $version" >&2
	exit 1
}
dpkg-buildpackage -us -uc -b >"$work/log" 2>&1 || {
	tail -n 40 "$work/log" >&2
	exit 1
}
lintian --fail-on error "$work"/*.changes
for package in "$work"/*.deb; do
	case $package in *-dbgsym_*) continue ;; esac
	cp "$package" "$target"
	echo "$target/${package##*/}"
done
