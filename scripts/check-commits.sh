#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks the commits since the rule: "module: change", at most 60 columns, no period at its end, and
# a body that says why; a merge is its own reason. What is no repository, or does not have the first
# commit (a shallow clone), is not looked at, and this says so. --self-test makes a repository of its
# own, and has to find what is wrong in it.
set -eu

# Those up to here were made before the rule.
since=843ba121db5b9fbe2012f14a8b15138ff7f2c7cc

say()
{
	echo "check-commits: $*"
}

# judge SUBJECT BODY: what is wrong with it, or nothing.
judge()
{
	[ "${#1}" -le 60 ] || echo "the subject has ${#1} columns, and not at most 60"
	echo "$1" | grep -q '^[a-z0-9_.-]*\(, [a-z0-9_.-]*\)*: [^A-Z ]' ||
		echo "the subject is not \"module: change\""
	case $1 in *.) echo "the subject ends in a period" ;; esac
	# A line such as "Signed-off-by: somebody" says who, and not why.
	echo "$2" | grep -v '^[A-Z][A-Za-z-]*: ' | grep -q '[^ ]' || echo "there is no body that says why"
}

check() # SINCE
{
	failed=0
	count=0
	for commit in $(git rev-list --no-merges --reverse "$1..HEAD"); do
		subject=$(git log -1 --format=%s "$commit")
		count=$((count + 1))
		wrong=$(judge "$subject" "$(git log -1 --format=%b "$commit")")
		[ -n "$wrong" ] || continue
		echo "$wrong" | sed "s/^/check-commits: $(git rev-parse --short "$commit"): /"
		echo "	$subject"
		failed=1
	done
	[ "$failed" = 0 ] && say "$count commits are in form"
}

# Each commit whose subject has "bad" in it has to be found, and no other.
self_test()
{
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cd "$work"
	git init -q .
	commit()
	{
		GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a \
			git -c commit.gpgsign=false -c core.hooksPath=/dev/null commit -q \
			--allow-empty --allow-empty-message -m "$1"
	}
	commit 'Before the rule bad things were done.'
	first=$(git rev-parse HEAD)
	why='

It was slow.'
	commit "pool: wake one at a time$why"
	commit "pool, loop: call it goodbye$why"
	commit "test_pool.c: count what is woken$why"
	commit "pool: do a bad thing"
	commit "pool: do a bad thing

Signed-off-by: Nobody <nobody>"
	commit "pool: do a bad thing.$why"
	commit "pool: Do a bad thing$why"
	commit "Pool: do a bad thing$why"
	commit "do a bad thing$why"
	commit "pool:do a bad thing$why"
	commit "pool: do a bad thing that takes more than sixty columns to say$why"
	commit "pool: say it in sixty columns, which is the most and is good$why"
	check "$first" >output && return 1
	git log --format=%s "$first..HEAD" | grep bad | sort >expected
	sed -n 's/^	//p' output | sort >found
	diff expected found
}

case ${1:-} in
--self-test)
	self_test && say "the check finds what it has to"
	exit
	;;
esac
cd "$(dirname "$0")/.."
if ! git rev-parse --git-dir >/dev/null 2>&1 || [ "$(git rev-parse --show-prefix)" != "" ]; then
	say "not looked: this is no repository"
elif ! git merge-base --is-ancestor "$since" HEAD 2>/dev/null; then
	say "not looked: the commit that the rule begins with, $since, is not here"
else
	check "$since"
fi
