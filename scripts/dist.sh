#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Makes DIRECTORY/sttcp-VERSION.tar.gz of what is committed:
#
#	scripts/dist.sh DIRECTORY
#
# The same commit gives the same bytes, whoever makes it and where. An unpacked tarball makes itself
# again: it has a list of its files, MANIFEST, whose time is the commit's.
set -eu
export LC_ALL=C TZ=UTC

target=${1:?usage: dist.sh DIRECTORY}
mkdir -p "$target"
target=$(cd "$target" && pwd)
cd "$(dirname "$0")/.."
version=$(sed -n 's/^#define STTCP_VERSION_[A-Z]* *\([0-9]*\)$/\1/p' include/sttcp.h | paste -sd .)
name=sttcp-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -e MANIFEST ]; then
	time=$(stat -c %Y MANIFEST)
	mkdir "$work/$name"
	xargs -d '\n' cp -P --parents -t "$work/$name" <MANIFEST
	cp MANIFEST "$work/$name"
elif git rev-parse -q --verify HEAD >/dev/null 2>&1; then
	[ -z "$(git status --porcelain)" ] || echo "dist: note: only what is committed is in it" >&2
	time=$(git log -1 --format=%ct)
	git archive --prefix="$name/" HEAD | tar -x -C "$work"
	(cd "$work/$name" && find . ! -type d | sed 's,^\./,,' | sort) >"$work/MANIFEST"
	mv "$work/MANIFEST" "$work/$name"
else
	echo "dist: this is neither a checkout nor an unpacked tarball of its own" >&2
	exit 2
fi

# Modes are made alike: a checkout has those of somebody's umask.
find "$work/$name" -type f -perm -u=x -exec chmod 755 {} + -o -type f -exec chmod 644 {} + -o \
	-type d -exec chmod 755 {} +
tar -c --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" \
	-C "$work" "$name" | gzip -9n >"$work/tarball"
mv "$work/tarball" "$target/$name.tar.gz"
chmod 644 "$target/$name.tar.gz"
echo "$target/$name.tar.gz"
