#!/bin/sh
# SPDX-License-Identifier: MIT
# The tarball has the same bytes wherever and by whom it is made, also out of itself; it has all that
# is committed, and its Makefile works.
set -eu
command -v git >/dev/null || { echo "skipped: git is not there" && exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A repository of its own, so that what is not committed does not matter; other modes and another
# time than those of the source.
mkdir "$work/repository"
cd "$work/repository"
cp -r "$STTCP_SOURCE_DIR/scripts" "$STTCP_SOURCE_DIR/include" "$STTCP_SOURCE_DIR/Makefile" .
git init -q
git add .
GIT_COMMITTER_DATE='2026-01-02 03:04:05 +0000' git -c user.name=tester -c user.email=tester@example.org \
	commit -q -m 'one' --date '2026-01-02 03:04:05 +0000'
(umask 022 && scripts/dist.sh "$work/one") >/dev/null
git clone -q "$work/repository" "$work/clone"
(cd "$work/clone" && umask 077 && chmod -R go= . && TZ=Asia/Tokyo scripts/dist.sh "$work/two") >/dev/null
cmp "$work"/one/*.tar.gz "$work"/two/*.tar.gz

mkdir "$work/unpacked"
tar -x -f "$work"/one/*.tar.gz -C "$work/unpacked"
cd "$work"/unpacked/sttcp-*
echo new >new_file # of the user's, and not in the list
scripts/dist.sh "$work/three" >/dev/null
cmp "$work"/one/*.tar.gz "$work"/three/*.tar.gz
[ ! -e .git ]
for file in $(git -C "$work/repository" ls-files); do
	cmp "$file" "$work/repository/$file"
done
make help >"$work/help"
grep -q 'make dist' "$work/help"

# Neither a checkout nor a tarball of its own.
rm MANIFEST
status=0
GIT_CEILING_DIRECTORIES=$work/unpacked scripts/dist.sh "$work/four" 2>"$work/said" || status=$?
[ "$status" = 2 ]
grep -q 'neither a checkout' "$work/said"
