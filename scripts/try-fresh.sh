#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Proves, by hand and as root, that the README's two commands are all that a fresh Debian with git
# and make needs: bootstraps a minimal one, clones what is committed into it, and runs "make demo"
# and "make test" there, as root and as an ordinary user. In between the Python package is installed
# as the README has it, and tested, and so are the packages for Debian. Says how long each took.
#
#	scripts/try-fresh.sh [SUITE]	(bookworm)
#
# The mirror is the one that this machine's apt uses for SUITE; MIRROR=... overrides it. Nothing
# is left behind: all mounts are made in a mount namespace that goes with its last process, so that
# outside of it there is never anything but plain files below the directory that is removed.
set -eu -o pipefail

suite=${1:-bookworm}
source=$(cd "$(dirname "$0")/.." && pwd)

say()
{
	echo "try-fresh: $*"
}

die()
{
	say "$*" >&2
	exit 1
}

# inside USER COMMAND: a shell command in the new system, in the user's home.
inside()
{
	local user=$1 home=/home/$1
	[ "$user" != root ] || home=/root
	chroot --userspec="$user:$user" "$system" /usr/bin/env -i HOME="$home" CI=true \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
		bash -c "cd && $2" </dev/null
}

packages()
{
	inside root "dpkg-query -W" | wc -l
}

# timed USER TARGET GOAL: make TARGET in the clone, with its time against the goal.
timed()
{
	local start=$SECONDS log=$work/$1-$2.log
	if ! inside "$1" "cd sttcp && make $2" >"$log" 2>&1; then
		tail -n 60 "$log" >&2
		die "make $2 as $1 failed after $((SECONDS - start)) s"
	fi
	grep -aE '^deps: missing|tests passed|^demo: |^python: |^Ran ' "$log" | sed 's/^/    /' || true
	printf '%-6s make %-11s %4d s (goal: under %d s)\n' "$1" "$2" $((SECONDS - start)) "$3" |
		tee -a "$work/times"
}

bootstrap()
{
	local extra=git,make
	case $MIRROR in
	https:*) extra=$extra,ca-certificates ;;
	esac
	say "bootstrapping $suite"
	if ! debootstrap --variant=minbase --include="$extra" "$suite" "$system" "$MIRROR" \
		>"$work/debootstrap.log" 2>&1; then
		tail -n 20 "$work/debootstrap.log" >&2
		die "debootstrap failed"
	fi
	# apt in there goes where apt out here goes, and minds an old snapshot as little.
	if [ -s "$work/sources.list" ]; then
		cp "$work/sources.list" "$system/etc/apt/sources.list"
	fi
	apt-config dump | grep -E '^Acquire::(Check-Valid-Until|Check-Date|https?::Proxy) ' \
		>"$system/etc/apt/apt.conf.d/90machine" || true
	# Every installer writes this file; debootstrap does not.
	printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$system/etc/hosts"
	mount -t proc proc "$system/proc"
	mount --rbind /dev "$system/dev"
	inside root "useradd --create-home --user-group --shell /bin/bash tester"
}

# What the README says about Python, without an index and far from the checkout.
try_python()
{
	local start=$SECONDS
	inside root "apt-get install -qq gcc libc6-dev libssl-dev python3-dev python3-venv" \
		>"$work/python.log" 2>&1
	inside tester "cd sttcp && python3 -m venv ../venv &&
		../venv/bin/pip install --no-index ./python" >>"$work/python.log" 2>&1 || {
		tail -n 60 "$work/python.log" >&2
		die "pip install ./python failed"
	}
	inside tester "venv/bin/python -c 'import sttcp; assert sttcp.HAS_TLS; print(sttcp.__version__)'" | grep -q '^2\.'
	printf '%-6s pip install ./python %2d s\n' tester $((SECONDS - start)) | tee -a "$work/times"
}

# Packages for Debian: built by root, installed, and used by a program and by Python; and gone again.
try_packages()
{
	local start=$SECONDS
	inside root "cd sttcp && make deb && apt-get install -qq pkg-config ./dist/*.deb" >"$work/deb.log" 2>&1 || {
		tail -n 60 "$work/deb.log" >&2
		die "make deb, or installing the packages, failed"
	}
	inside tester "cd sttcp && cc -o ../echo examples/02_echo.c \$(pkg-config --cflags --libs sttcp) &&
		cc -static -o ../static tests/install/outside.c \$(pkg-config --static --cflags --libs sttcp) &&
		../static && ls /usr/share/man/man3/sttcp_conn_send.3* && sttcp --version &&
		cd / && python3 -c 'import sttcp; assert sttcp.HAS_TLS and sttcp.__file__.startswith(\"/usr/lib/python3/\")'" \
		>"$work/packages.log" 2>&1 || {
		tail -n 60 "$work/packages.log" >&2
		die "the packages do not work"
	}
	inside root "apt-get purge -qq -y libsttcp0 libsttcp-dev sttcp python3-sttcp && ! find /usr -name '*sttcp*' | grep ." \
		>>"$work/packages.log" 2>&1 || {
		tail -n 20 "$work/packages.log" >&2
		die "the packages leave something behind"
	}
	printf '%-6s make deb, and use %4d s\n' root $((SECONDS - start)) | tee -a "$work/times"
}

try()
{
	bootstrap
	cp "$work/sttcp.bundle" "$system/srv/"
	for user in tester root; do
		inside "$user" "git clone -q /srv/sttcp.bundle sttcp"
	done

	local before status=0
	before=$(packages)
	inside tester "cd sttcp && make demo" >"$work/refused.log" 2>&1 || status=$?
	if [ "$status" != 2 ] || ! grep -q 'apt-get install' "$work/refused.log" ||
		[ "$(packages)" != "$before" ]; then
		cat "$work/refused.log" >&2
		die "a user who may not install has to be told what to run, and nothing else"
	fi
	say "a user who may not install is told:"
	grep 'apt-get' "$work/refused.log" | sed 's/^ */    /'

	timed root demo 120
	timed root test 360
	try_python
	timed root python-test 180
	try_packages
	timed tester demo 120
	timed tester test 360
	say "all of it works:"
	cat "$work/times"
}

if [ -n "${TRY_FRESH_WORK:-}" ]; then
	work=$TRY_FRESH_WORK
	system=$work/system
	try
	exit
fi

[ "$(id -u)" = 0 ] || die "chroot and mount need root"
"$source/scripts/deps.sh" fresh
git -C "$source" rev-parse -q --verify HEAD >/dev/null || die "nothing is committed yet"
[ -z "$(git -C "$source" status --porcelain)" ] || say "note: only what is committed is tried"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A bundle is one file that any user may clone from, wherever the checkout's owner keeps it.
git -C "$source" bundle create -q "$work/sttcp.bundle" HEAD --branches
# shellcheck disable=SC2016 # apt-get fills these in, not the shell
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
	'Origin: Debian' | awk -v suite="$suite" 'index($3, suite) == 1 && $4 == "main"' |
	sort -u >"$work/sources.list"
: "${MIRROR:=$(awk -v suite="$suite" '$3 == suite { print $2; exit }' "$work/sources.list")}"
[ -n "$MIRROR" ] || die "this machine's apt knows no mirror for $suite: set MIRROR"

# mktemp's directory is the owner's alone, but the user in there has to get through it.
chmod 755 "$work"
# A process namespace of its own lets nothing that was started in there outlive it.
export MIRROR
TRY_FRESH_WORK=$work unshare --mount --pid --fork --kill-child --propagation private \
	bash "$source/scripts/try-fresh.sh" "$suite"
