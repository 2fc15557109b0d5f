#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs examples, each on a port of its own, and checks what they do. test_example_clients.sh has
# those that are for clients of others.

. "$(dirname "$0")/support/examples.sh"

# ---------------------------------------------------------------------- 01_meow

meow_is_done()
{
	{ grep -q '^Disconnected by ' "$out" && grep -q '^Disconnected from ' "$out"; } ||
		ended "$pid"
}

# Each side's lines, in its own order: the two sides run on different threads.
test_meow_prints_the_lines_of_the_seed()
{
	local number='[0-9][0-9]*'

	start 01_meow 0
	read_port
	wait_until "both sides disconnected" meow_is_done
	interrupt "$pid"
	expect_same "- Server: HandlerType.connection
Connected by 127.0.0.1:N
- Server: HandlerType.receive
- Server: HandlerType.receive
- Server: HandlerType.disconnection
Disconnected by 127.0.0.1:N" \
		"$(grep -E '^- Server|^Connected by|^Disconnected by' "$out" |
			sed "s/127.0.0.1:$number\$/127.0.0.1:N/")"
	expect_same "- Client: HandlerType.connection
Connected to 127.0.0.1:$port
- Client: HandlerType.response
Received string \"Meow!\"
- Client: HandlerType.response
Received string \"Really?!\"
- Client: HandlerType.disconnection
Disconnected from 127.0.0.1:$port" \
		"$(grep -E '^- Client|^Connected to|^Received|^Disconnected from' "$out")"
	expect_same 15 "$(wc -l <"$out")"
	[ ! -s "$err" ] || fail "it wrote to standard error"
}

declined_or_ended()
{
	grep -q 'declined!$' "$out" || ended "$pid"
}

# Only netcat can choose the address that it calls from; without it there is no such case.
test_meow_declines_127_0_0_2()
{
	local before

	command -v nc >/dev/null || { echo "skip $case_name: no nc"; return; }
	start 01_meow 0
	read_port
	wait_until "both sides disconnected" meow_is_done
	before=$(grep -c '^- Server: HandlerType.disconnection$' "$out")
	echo hello | nc -s 127.0.0.2 -w "$deadline_s" 127.0.0.1 "$port" >"$work/nc.out" 2>&1
	wait_until "the line about declining" declined_or_ended
	interrupt "$pid"
	grep -Eq '^Connection from 127\.0\.0\.2:[0-9]+ declined!$' "$out" || fail "not declined"
	expect_same "$before" "$(grep -c '^- Server: HandlerType.disconnection$' "$out")"
	[ ! -s "$work/nc.out" ] || fail "a declined peer was answered"
}

# ------------------------------------------------------- 02_echo and 03_client

# The shortest server says nothing, so it cannot be asked for its port: it is given one
# below the range the kernel hands out, and another one where that is taken.
start_echo()
{
	local attempt

	for attempt in {1..50}; do
		port=$((20000 + (RANDOM + attempt) % 12000))
		start 02_echo "$port"
		wait_until "the echo server" dials_or_ended
		runs "$pid" && return
	done
	fail "no port would do"
}

# The kernel may have lent the port to somebody else: that the server catches SIGINT
# means that it has come through start.
dials_or_ended()
{
	ended "$pid" || { catches_sigint "$pid" && can_dial; }
}

test_echo_answers_and_says_why_it_cannot_start()
{
	local conn first second

	start_echo
	first=$pid
	dial conn
	echo "first" >&"$conn"
	expect_line "$conn" "first"
	echo "second" >&"$conn"
	expect_line "$conn" "second"

	start 02_echo "$port"
	second=$pid
	reap "$second"
	[ "$status" -ne 0 ] || fail "a second server on the same port ended with status 0"
	grep -q "$port" "$err" || fail "the address is not in what the second server says"
	hang_up "$conn"
	interrupt "$first"
}

test_client_asks_and_waits()
{
	local echo_pid text="a question of several words"

	start_echo
	echo_pid=$pid
	start 03_client "$port" "$text"
	reap "$pid"
	[ "$status" -eq 0 ] || fail "exit status $status"
	expect_same "connected to 127.0.0.1:$port
$text
${#text} of ${#text} bytes came back" "$(cat "$out")"
	interrupt "$echo_pid"

	# The server is gone: the client has to say so and fail.
	start 03_client "$port" "$text"
	reap "$pid"
	[ "$status" -eq 1 ] || fail "exit status $status without a server"
	grep -q '^it ended: .' "$err" || fail "no reason was told"
}

# ------------------------------------------------------------------ 04_blocking

# With eight handlers asleep, a newcomer is answered. Sets `early` to how many of the eight were so
# before, and `asked_us` to when the newcomer asked.
answer_a_newcomer()
{
	local sleepers=() conn quick began_us

	start_server 04_blocking
	began_us=$(now_us)
	for _ in {1..8}; do
		dial conn
		sleepers+=("$conn")
		printf 5x >&"$conn"
	done
	dial quick
	printf abc >&"$quick"
	asked_us=$(($(now_us) - began_us))
	expect_bytes "$quick" abc
	early=0
	for conn in "${sleepers[@]}"; do
		! read -r -t 0 -u "$conn" || early=$((early + 1))
	done
	for conn in "${sleepers[@]}"; do
		expect_bytes "$conn" 5x
		hang_up "$conn"
	done
	hang_up "$quick"
	interrupt "$pid"
}

# They sleep for 5 s: a newcomer that a busy machine lets ask late says nothing, and another is asked.
test_blocking_handlers_hold_up_nobody_else()
{
	local early asked_us

	for _ in {1..4}; do
		answer_a_newcomer
		[ "$early" -eq 0 ] && return
		[ "$asked_us" -ge 2000000 ] || break
	done
	fail "$early of 8 sleepers were answered before the newcomer"
}

# ---------------------------------------------------------------------- 05_chat

test_chat_tells_the_others()
{
	local ann bob

	start_server 05_chat
	dial ann
	expect_line "$ann" 'Your name\?'
	printf 'A' >&"$ann" # a line need not come in one piece
	printf 'nn\n' >&"$ann"
	expect_line "$ann" 'Hello Ann, there are 1 here\.'

	dial bob
	expect_line "$bob" 'Your name\?'
	printf '\nBob\nHi all\n' >&"$bob" # nor one by one
	expect_line "$bob" 'A name has 1 to 31 bytes\.'
	expect_line "$bob" 'Hello Bob, there are 2 here\.'
	expect_line "$ann" 'Bob joined'
	expect_line "$ann" 'Bob: Hi all'
	echo "Hi Bob" >&"$ann"
	expect_line "$bob" 'Ann: Hi Bob'

	hang_up "$bob"
	expect_line "$ann" 'Bob left'
	head -c 600 /dev/zero | tr '\0' x >&"$ann" # over the limit of a line
	expect_end "$ann"
	wait_until "the reason of the end" grep -q 'a line of 512 bytes or more' "$out"
	hang_up "$ann"
	interrupt "$pid"
}

# ------------------------------------------------------------------ 06_graceful

cannot_dial()
{
	! can_dial
}

# One connection says goodbye when it is told, one never does and is closed by force. Sets `goodbye`
# to what the first one was answered, `asked_us` to when it spoke, and `hung_up_us` to when it left.
stop_gracefully()
{
	local polite silent hold began_us

	rm -f "$work/enter"
	mkfifo "$work/enter"
	out=$work/06_graceful.out
	err=$work/06_graceful.err
	: >"$out"
	env --default-signal=INT "$examples/06_graceful" 0 <"$work/enter" >"$out" 2>"$err" &
	pid=$!
	pids+=("$pid")
	exec {hold}>"$work/enter"
	read_port
	dial polite
	dial silent
	echo hello >&"$polite"
	expect_line "$polite" '6 bytes, thank you'
	echo hello >&"$silent"
	expect_line "$silent" '6 bytes, thank you'

	began_us=$(now_us)
	echo >&"$hold"
	expect_line "$polite" 'the server stops in two seconds'
	expect_line "$silent" 'the server stops in two seconds'
	wait_until "the listener to close" cannot_dial
	(echo hello >&"$polite") 2>/dev/null # it may have been closed by force
	asked_us=$(($(now_us) - began_us))
	IFS= read -r -t "$deadline_s" -u "$polite" goodbye
	expect_end "$polite"
	hang_up "$polite"
	hung_up_us=$(($(now_us) - began_us))
	expect_end "$silent"
	hang_up "$silent"
	exec {hold}>&-

	reap "$pid"
	[ "$status" -eq 0 ] || fail "exit status $status"
}

test_graceful_reports_who_was_closed_by_force()
{
	local goodbye asked_us hung_up_us

	# Two seconds are not much for a busy machine: again if the polite one spoke late, or left so.
	for _ in {1..5}; do
		stop_gracefully
		[ "$asked_us" -ge 1000000 ] || { [ "$goodbye" = goodbye ] && [ "$hung_up_us" -ge 2000000 ]; } ||
			break
	done
	expect_same goodbye "$goodbye"
	grep -Eq '^127\.0\.0\.1:[0-9]+ ended: STTCP_ECLOSED$' "$out" || fail "the polite one's reason"
	grep -Eq '^127\.0\.0\.1:[0-9]+ ended: STTCP_ESTOPPED$' "$out" || fail "the silent one's reason"
	# The polite one, and whoever dialled at the last moment to see whether the listener was closed.
	tail -n 1 "$out" | grep -Eq '^[1-9][0-9]* ended by themselves, 1 closed by force, 0 handlers still running$' ||
		fail "the report: $(tail -n 1 "$out")"
}

# --------------------------------------------------------------------- 07_lines

test_lines_come_whole()
{
	local conn

	start_server 07_lines
	dial conn
	printf 'a li' >&"$conn" # in pieces,
	printf 'ne\r\n\nand two\n' >&"$conn" # or several at once
	expect_line "$conn" 'A LINE'
	expect_line "$conn" ''
	expect_line "$conn" 'AND TWO'
	head -c 300 /dev/zero | tr '\0' x >&"$conn" # over max_message
	expect_end "$conn"
	wait_until "the reason of the end" grep -q 'ended: STTCP_ELIMIT$' "$out"
	hang_up "$conn"
	interrupt "$pid"
}

# ------------------------------------------------------------------ 08_dialogue

test_dialogue_lets_in_who_knows_the_word()
{
	local ann bob

	start_server 08_dialogue
	dial ann
	expect_line "$ann" 'Your name\?'
	dial bob # while the handler of the first one waits
	printf 'Bob\nopen\n' >&"$bob"
	expect_line "$bob" 'Your name\?'
	expect_line "$bob" 'Password\?'
	expect_line "$bob" 'No, Bob\.'
	expect_end "$bob"
	hang_up "$bob"

	echo Ann >&"$ann"
	expect_line "$ann" 'Password\?'
	printf 'sesame\nhello\n' >&"$ann"
	expect_line "$ann" 'Come in, Ann\.'
	expect_line "$ann" 'Ann: hello'
	hang_up "$ann"
	interrupt "$pid"
}

# -------------------------------------------------------------------- 09_limits

test_limits_end_a_silent_one_and_keep_a_fourth_out()
{
	local first second silent fourth conn

	start_server 09_limits
	dial first
	dial second
	echo hello >&"$first"
	echo hello >&"$second"
	expect_line "$first" hello
	expect_line "$second" hello
	dial silent
	dial fourth
	expect_end "$fourth"
	expect_end "$silent"
	wait_until "the reason of the end" grep -q 'ended: STTCP_ETIME_FIRST_BYTE$' "$out"
	for conn in "$first" "$second" "$silent" "$fourth"; do
		hang_up "$conn"
	done
	interrupt "$pid"
	grep -Fqx '3 came, 1 ended with a reason, over the limits: 0 of all, 1 of an address, 0 a second' \
		"$out" || fail "the counters: $(tail -n 1 "$out")"
}

# ------------------------------------------------------------------- the README

test_readme_shows_the_echo_example()
{
	local shown program

	# shellcheck disable=SC2016
	shown=$(sed -n '/^```c$/,/^```$/p' "$root/README.md" | sed '1d;/^```$/,$d')
	program=$(sed -n '/^#include/,$p' "$root/examples/02_echo.c")
	expect_same "$program" "$shown"
	[ "$(wc -l <<<"$shown")" -le 15 ] || fail "the server in the README is over 15 lines"
}

run_cases
