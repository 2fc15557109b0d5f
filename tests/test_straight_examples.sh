#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the examples of straight-line code: a client that dials, a gateway whose handlers do, and one
# that asks a real Redis server. scripts/deps.sh peers installs that; without it that case says so.

. "$(dirname "$0")/support/examples.sh"

test_dial_asks_and_prints()
{
	local server

	start_server 07_lines
	server=$pid
	start 20_dial 127.0.0.1 "$port" one "two words"
	reap "$pid"
	[ "$status" -eq 0 ] || fail "exit status $status"
	expect_same "ONE
TWO WORDS" "$(cat "$out")"
	interrupt "$server"
	# And nobody is there any more.
	start 20_dial 127.0.0.1 "$port" one
	reap "$pid"
	[ "$status" -eq 1 ] || fail "exit status $status without a server"
	grep -q "cannot connect to 127.0.0.1:$port" "$err" || fail "it does not say why"
	start 20_dial
	reap "$pid"
	[ "$status" -eq 1 ] || fail "exit status $status without arguments"
}

test_gateway_asks_its_back_end()
{
	local server back gateway one other

	start_server 07_lines
	server=$pid back=$port
	start 21_gateway 0 127.0.0.1 "$back"
	gateway=$pid
	read_port
	dial one
	dial other
	printf 'first\nand more\n' >&"$one"
	expect_line "$one" 'FIRST'
	printf 'of another\n' >&"$other"
	expect_line "$other" 'OF ANOTHER'
	expect_line "$one" 'AND MORE'
	hang_up "$other"
	# Its end is told to those who ask.
	interrupt "$server"
	printf 'is anybody there\n' >&"$one"
	expect_end "$one"
	dial other
	expect_line "$other" 'Sorry, there is nobody.'
	expect_end "$other"
	hang_up "$one"
	hang_up "$other"
	interrupt "$gateway"
}

redis_answers()
{
	redis-cli -s "$work/redis" ping 2>/dev/null | grep -q PONG
}

test_redis_counts()
{
	local server redis one other

	command -v redis-server >/dev/null || {
		echo "skip $case_name: no redis-server"
		return
	}
	redis-server --port 0 --unixsocket "$work/redis" --save '' --dir "$work" \
		>"$work/redis.out" 2>"$work/redis.err" &
	redis=$!
	pids+=("$redis")
	wait_until "Redis" redis_answers
	start 22_redis 0 "$work/redis"
	server=$pid
	if wait_until "the example" listens_or_ended && grep -q 'without hiredis' "$err"; then
		echo "skip $case_name: built without hiredis"
		return
	fi
	read_port
	dial one
	dial other
	printf 'ann\nbob\nann\n' >&"$one"
	expect_line "$one" 'ann: 1'
	expect_line "$one" 'bob: 1'
	expect_line "$one" 'ann: 2'
	printf 'ann\n' >&"$other"
	expect_line "$other" 'ann: 3'
	# What is not a number is Redis's error, and the reason.
	redis-cli -s "$work/redis" set word text >/dev/null
	printf 'word\n' >&"$other"
	expect_end "$other"
	wait_until "the reason" grep -q 'Redis: ERR' "$out"
	# Its end of the socket is closed by then: the write has to fail, and not the program.
	kill -KILL "$redis"
	wait "$redis" 2>/dev/null
	printf 'ann\n' >&"$one"
	expect_end "$one"
	hang_up "$one"
	hang_up "$other"
	interrupt "$server"
}

run_cases
