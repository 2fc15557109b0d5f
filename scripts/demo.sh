#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs the first example (examples/01_meow.c) from start to Ctrl+C and shows what it
# prints. Done when both sides have said that they are disconnected and the program
# has then answered SIGINT with exit status 0.
#
# Usage: scripts/demo.sh BUILD_DIR

set -u

deadline_s=20

fail()
{
	echo "demo: FAILED: $*" >&2
	exit 1
}

[ $# -eq 1 ] || { echo "usage: $0 BUILD_DIR" >&2; exit 2; }
program=$1/examples/01_meow
[ -x "$program" ] || fail "$program is not there; build it first (make demo)"

transcript=$(mktemp "${TMPDIR:-/tmp}/sttcp-demo.XXXXXX") || fail "no temporary file"
pid=

clean_up()
{
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null
	rm -f "$transcript"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Shows the lines that have come since the last call. Only whole lines count, so that
# none is printed in two halves.
shown=0
show()
{
	lines=$(wc -l <"$transcript")
	if [ "$lines" -gt "$shown" ]; then
		sed -n "$((shown + 1)),${lines}p" "$transcript"
		shown=$lines
	fi
}

said()
{
	grep -q "$1" "$transcript"
}

# Waits for the program, which has ended or is about to, and leaves its status.
reap()
{
	wait "$pid"
	status=$?
	pid=
	show
}

# Whether the program runs. It may have ended without having been waited for: kill -0
# still finds it then, and ps is not on every machine. A shell that waits for grep may
# have waited for the program by then, and its files in /proc are gone: so one look
# decides, which finds a state that is alive or nothing, and says nothing about it (-s).
running()
{
	if [ -r /proc/self/stat ]; then
		grep -qs ') [^XZ] ' "/proc/$pid/stat"
	else
		kill -0 "$pid" 2>/dev/null
	fi
}

# Looks again and again until the command given says yes, or the time is up.
wait_until()
{
	end=$(($(date +%s) + deadline_s))
	until "$@"; do
		show
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.05
	done
	show
}

# Whether keep_alive is there to take the signal: the handlers may be done before main
# has got that far. SIGINT is the second bit of the mask of caught signals.
catches_sigint()
{
	[ ! -r /proc/self/status ] || grep -qs '^SigCgt:.*[2367abef]$' "/proc/$pid/status"
}

both_disconnected()
{
	{ said '^Disconnected by ' && said '^Disconnected from ' && catches_sigint; } || ! running
}

ended()
{
	! running
}

# A shell starts what runs behind its back with SIGINT ignored, and the library leaves
# an ignored signal ignored: so env puts the default back.
env --default-signal=INT "$program" >"$transcript" 2>&1 &
pid=$!

wait_until both_disconnected || fail "the two sides were not done after $deadline_s s"

if ended; then
	reap
	if said 'in use'; then
		fail "the example's port, 62134, is in use: stop the program that listens there," \
			"then run this again"
	fi
	fail "the example ended by itself, with status $status"
fi

echo "(both sides are done; sending SIGINT, which is what Ctrl+C does)"
kill -INT "$pid" || fail "the example is gone"
wait_until ended || fail "the example still runs $deadline_s s after SIGINT"
reap
[ "$status" -eq 0 ] || fail "the example ended with status $status after SIGINT"
echo "demo: OK: server and client have talked, and the server stopped on SIGINT with status 0"
