# SPDX-License-Identifier: MIT
#
# For the scripts that run examples: starts them, waits for what they do, and talks to them. To be
# sourced first; run_cases at the end runs every function test_*.
#
# Nothing is waited for by sleeping: every wait looks for an event, until a deadline.
#
# Environment: STTCP_BUILD_DIR, the build directory with examples/ in it. With
# STTCP_TEST_DEADLINE_S the deadline of a single wait can be raised (default 20).

set -u

# shellcheck disable=SC2034 # for the cases
root=$(cd "$(dirname "$0")/.." && pwd)
examples=${STTCP_BUILD_DIR:?STTCP_BUILD_DIR is not set}/examples
deadline_s=${STTCP_TEST_DEADLINE_S:-20}
work=$(mktemp -d "${TMPDIR:-/tmp}/sttcp-examples.XXXXXX") || exit 1
case_name=none
pids=()

clean_up()
{
	local pid

	for pid in "${pids[@]}"; do
		kill -KILL "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail()
{
	local file

	echo "FAIL $case_name: $*" >&2
	for file in "$work"/*.out "$work"/*.err; do
		[ -s "$file" ] && { echo "--- ${file##*/}"; cat "$file"; } >&2
	done
	exit 1
}

# wait_until WHAT COMMAND...: looks every 20 ms until the command succeeds.
wait_until()
{
	local what=$1 end=$((SECONDS + deadline_s))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || fail "waited $deadline_s s for: $what"
		sleep 0.02
	done
}

# Of a clock, in microseconds.
now_us()
{
	echo "${EPOCHREALTIME/[.,]/}"
}

# Whether a program of ours runs; one that has ended and was not waited for does not.
runs()
{
	kill -0 "$1" 2>/dev/null && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null
}

ended()
{
	! runs "$1"
}

# A background job has SIGINT ignored, with nohup SIGHUP as well, and what is ignored stays
# ignored: env resets it.
# Sets `pid`; what the program prints is in $out and $err. Its input is $input, or nothing.
start()
{
	local program=$1

	shift
	[ -x "$examples/$program" ] || fail "no $examples/$program"
	out=$work/$program.out
	err=$work/$program.err
	: >"$out" # there from the start: the job may not have opened it when we look
	env --default-signal=INT,TERM,HUP "$examples/$program" "$@" >"$out" 2>"$err" <"${input:-/dev/null}" &
	pid=$!
	pids+=("$pid")
}

# Sets `status`.
reap()
{
	wait_until "the end of the program" ended "$1"
	wait "$1"
	status=$?
}

# Waits for the line that tells the port, and sets `port`.
read_port()
{
	wait_until "the line 'listening on PORT'" listens_or_ended
	port=$(sed -n 's/^listening on \([0-9]*\)$/\1/p' "$out")
	[ -n "$port" ] || fail "it ended before it listened"
}

listens_or_ended()
{
	grep -q '^listening on [0-9]*$' "$out" || ended "$pid"
}

start_server()
{
	start "$1" 0
	read_port
}

# keep_alive may come a moment after the line that tells the port: SIGINT is the second
# bit of the mask of signals that the program catches.
catches_sigint()
{
	grep -q '^SigCgt:.*[2367abef]$' "/proc/$1/status" 2>/dev/null
}

catches_sigint_or_ended()
{
	catches_sigint "$1" || ended "$1"
}

# Ctrl+C has to end it with exit status 0.
interrupt()
{
	wait_until "keep_alive" catches_sigint_or_ended "$1"
	runs "$1" || fail "it ended by itself"
	kill -INT "$1"
	reap "$1"
	[ "$status" -eq 0 ] || fail "exit status $status after SIGINT"
}

# dial VARIABLE: a connection to `port`, its descriptor in the variable.
dial()
{
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || fail "cannot connect to port $port"
	printf -v "$1" %s "$fd"
}

hang_up()
{
	local fd=$1

	exec {fd}>&-
}

can_dial()
{
	(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null
}

# expect_line FD PATTERN: the next line of the connection must match; it is in `line`.
expect_line()
{
	local pattern=$2

	IFS= read -r -t "$deadline_s" -u "$1" line || fail "no line, wanted: $pattern"
	[[ $line =~ ^$pattern$ ]] || fail "got '$line', wanted '$pattern'"
}

# expect_bytes FD TEXT: the next bytes of the connection, no newline in them.
expect_bytes()
{
	local got

	IFS= read -r -t "$deadline_s" -N "${#2}" -u "$1" got || fail "no answer, wanted '$2'"
	[ "$got" = "$2" ] || fail "got '$got', wanted '$2'"
}

expect_end()
{
	local rest

	IFS= read -r -t "$deadline_s" -N 1 -u "$1" rest
	# Over 128: the time was up.
	[ $? -eq 1 ] || fail "the connection goes on, with '$rest'"
}

expect_same()
{
	[ "$2" = "$1" ] || fail "$(printf 'wanted:\n%s\n got:\n%s' "$1" "$2")"
}

run_cases()
{
	for case_name in $(compgen -A function test_); do
		rm -f "$work"/*
		"$case_name" || fail "it returned $?"
		echo "ok $case_name"
	done
}
