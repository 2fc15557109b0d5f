#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the examples that are for clients of others, with these clients: nc, curl, socat, redis-cli,
# redis-benchmark. scripts/deps.sh test installs them; a case without its client says so.

. "$(dirname "$0")/support/examples.sh"

have()
{
	command -v "$1" >/dev/null && return
	echo "skip $case_name: no $1"
	return 1
}

# No client may hang: the case would fail without a word about it.
within()
{
	timeout "$((2 * deadline_s))" "$@"
}

# serve_once COMMAND [PORT]: what one connection brings is COMMAND's input, and its output the
# answer. The port is in `target`.
serve_once()
{
	: >"$work/target.err" # what an earlier one has told does not count
	socat -d -d -t "$deadline_s" TCP-LISTEN:"${2:-0}",bind=127.0.0.1,reuseaddr SYSTEM:"$1" \
		2>"$work/target.err" 9>&- &
	target_pid=$!
	pids+=("$target_pid")
	wait_until "socat to listen" grep -q 'listening on' "$work/target.err"
	target=$(sed -n 's/.* listening on AF=2 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$work/target.err")
	[ -n "$target" ] || fail "socat does not tell its port"
}

# --------------------------------------------------------------------- 10_rooms

# guest NAME: nc with the room server; `exec {NAME}>` are what the guest types, NAME.got what is told.
guest()
{
	local fd

	mkfifo "$work/$1"
	within nc 127.0.0.1 "$port" <"$work/$1" >"$work/$1.got" &
	pids+=("$!")
	exec {fd}>"$work/$1"
	printf -v "$1" %s "$fd"
}

hears()
{
	wait_until "$1 to hear '$2'" grep -qx "$2" "$work/$1.got"
}

test_rooms_tell_those_who_are_in_them()
{
	local ann bob eve

	have nc || return 0
	start_server 10_rooms
	guest ann
	hears ann '0 others in lobby'
	echo '/nick Ann' >&"$ann"
	guest bob
	hears bob '1 others in lobby'
	guest eve
	hears eve '2 others in lobby'
	echo '/nick Bob' >&"$bob"
	hears ann 'guest[0-9]* is now Bob'
	hears eve 'guest[0-9]* is now Bob'

	echo '/join garden' >&"$eve"
	hears eve '0 others in garden'
	hears bob 'guest[0-9]* left'
	hears ann 'guest[0-9]* left'
	echo '/join garden' >&"$ann"
	hears ann '1 others in garden'
	hears bob 'Ann left'
	hears eve 'Ann joined'
	printf 'Hel' >&"$ann" # a line need not come in one piece
	printf 'lo\nEve\n' >&"$ann"
	hears eve 'Ann: Hello'
	hears eve 'Ann: Eve'
	exec {eve}>&-
	echo 'alone' >&"$bob"
	exec {ann}>&- {bob}>&-
	interrupt "$pid"
	! grep -q 'Ann: \|alone' "$work/bob.got" "$work/ann.got" || fail "it was told in another room"
}

# ---------------------------------------------------------------------- 11_mail

test_mail_takes_what_curl_sends()
{
	have curl || return 0
	start_server 11_mail
	printf 'Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nthe end\r\n' >"$work/mail"
	within curl -sS "smtp://127.0.0.1:$port" --mail-from ann@a.example --mail-rcpt bob@b.example \
		--mail-rcpt eve@b.example -T "$work/mail" >"$work/curl.out" 2>&1 || fail "curl: status $?"
	wait_until "the mail" grep -qx "a mail of $(wc -c <"$work/mail") bytes to 2" "$out"
	interrupt "$pid"
}

# Each state refuses what is for another one; a bare newline does not end a line.
test_mail_goes_from_state_to_state()
{
	have nc || return 0
	start_server 11_mail
	printf '%s\r\n' 'MAIL FROM:<a>' 'HELO me' DATA 'RCPT TO:<b>' NOOP 'mail from:<a>' 'MAIL FROM:<c>' \
		DATA 'RCPT TO:<b>' RSET 'MAIL FROM:<a>' 'RCPT TO:<b>' DATA $'x\n.\nQUIT' . QUIT |
		within nc -N 127.0.0.1 "$port" | tr -d '\r' | cut -d ' ' -f 1 | tr '\n' ' ' >"$work/got"
	expect_same '220 503 250 503 503 250 250 503 503 250 250 250 250 354 250 221 ' "$(cat "$work/got")"
	wait_until "the mail" grep -qx 'a mail of 10 bytes to 1' "$out"
	{ head -c 2000 /dev/zero | tr '\0' x; printf '\r\nQUIT\r\n'; } |
		within nc -N 127.0.0.1 "$port" | tr -d '\r' >"$work/got"
	expect_same $'220 mail.example\n500 Too long' "$(cat "$work/got")"
	interrupt "$pid"
}

# ---------------------------------------------------------------- 12_reconnect

finds_nobody_or_ended()
{
	grep -q 'ended: Connection refused' "$err" || ended "$pid"
}

# A question that is open when the server dies is asked again when another one is there.
test_reconnect_survives_its_server()
{
	have socat || return 0
	serve_once cat
	mkfifo "$work/questions"
	input=$work/questions start 12_reconnect "$target"
	exec 9>"$work/questions"
	echo first >&9
	wait_until "the first answer" grep -qx first "$out"
	kill -KILL "$target_pid"
	wait "$target_pid" 2>/dev/null
	echo second >&9
	wait_until "an attempt in vain" finds_nobody_or_ended
	serve_once cat "$target"
	wait_until "the second answer" grep -qx second "$out"
	echo third >&9
	wait_until "the third answer" grep -qx third "$out"
	exec 9>&-
	reap "$pid"
	[ "$status" -eq 0 ] || fail "exit status $status"
}

# ---------------------------------------------------------------- 13_heartbeat

has_beaten()
{
	[ "$(grep -c ping "$work/beats")" -ge 6 ]
}

# Who answers stays longer than the four periods after which a silent one is dropped.
test_heartbeat_drops_who_does_not_answer()
{
	local silent

	have socat || return 0
	start 13_heartbeat 0 1000
	read_port
	dial silent
	: >"$work/beats"
	socat "TCP:127.0.0.1:$port" SYSTEM:"tee '$work/beats'" &
	pids+=("$!")
	for _ in 1 2 3; do
		expect_line "$silent" ping
	done
	expect_end "$silent"
	wait_until "the reason" grep -q 'ended: no answer to 3 pings' "$out"
	wait_until "six beats" has_beaten
	expect_same 1 "$(grep -c ended "$out")"
	hang_up "$silent"
	interrupt "$pid"
}

# --------------------------------------------------------------------- 14_relay

start_relay()
{
	start 14_relay 0 127.0.0.1 "$target"
	read_port
}

# The answer comes after our FIN, so the way back must still be open.
test_relay_passes_on_a_half_close()
{
	have socat || return 0
	head -c 20000000 /dev/urandom >"$work/sent"
	serve_once sha256sum
	start_relay
	within socat -t "$deadline_s" - "TCP:127.0.0.1:$port" <"$work/sent" >"$work/got"
	expect_same "$(sha256sum <"$work/sent")" "$(cat "$work/got")"
	wait_until "the end of the other end" ended "$target_pid"
	interrupt "$pid"

	have nc || return 0
	serve_once "cat >/dev/null; cat '$work/sent'"
	start_relay
	within nc -N 127.0.0.1 "$port" </dev/null >"$work/got"
	cmp "$work/sent" "$work/got" || fail "it is not what was sent"
	interrupt "$pid"
}

# The first pause is that of a connection whose other end is not there yet.
pauses_twice_or_ended()
{
	[ "$(grep -c 'pause: sttcp_conn_pause' "$err")" -ge 2 ] || ended "$pid"
}

test_relay_slows_down_who_sends_to_a_slow_end()
{
	local sender size=200000000

	have socat || return 0
	mkfifo "$work/go"
	serve_once "read go <'$work/go'; wc -c"
	STTCP_LOG=4 start_relay
	head -c "$size" /dev/zero |
		within socat -t "$deadline_s" - "TCP:127.0.0.1:$port" >"$work/got" &
	sender=$!
	pids+=("$sender")
	wait_until "a pause of the sender" pauses_twice_or_ended
	runs "$sender" || fail "nothing slowed the sender down"
	echo >"$work/go"
	wait "$sender" || fail "the sender ended with status $?"
	expect_same "$size" "$(cat "$work/got")"
	interrupt "$pid"
}

can_read()
{
	read -r -t 0 -u "$1"
}

# A socket that is closed with unread input is reset (tcp(7)).
test_relay_resets_the_other_end_of_a_lost_one()
{
	local conn

	have socat || return 0
	serve_once "echo hello; cat"
	start_relay
	dial conn
	wait_until "the greeting" can_read "$conn"
	hang_up "$conn"
	wait_until "a reset" grep -q 'Connection reset by peer' "$work/target.err"

	# Nobody listens there any more.
	wait_until "the end of the other end" ended "$target_pid"
	within socat -d -u "TCP:127.0.0.1:$port" - 2>"$work/client.err"
	grep -q 'Connection reset by peer' "$work/client.err" || fail "it was not reset"
	interrupt "$pid"
}

test_relay_bears_many_connections()
{
	local server

	have redis-benchmark || return 0
	start_server 15_keyvalue
	server=$pid
	target=$port
	start_relay
	benchmark -n 5000 -P 4
	interrupt "$pid"
	interrupt "$server"
}

# ------------------------------------------------------------------ 15_keyvalue

cli()
{
	within redis-cli -p "$port" "$@"
}

# What it prints of its progress has an end of line after each figure only.
benchmark()
{
	within redis-benchmark -p "$port" -c 50 -t set,get -r 1000 -q "$@" >"$work/benchmark.out" 2>&1 ||
		fail "redis-benchmark ended with status $?"
	[ "$(tr '\r' '\n' <"$work/benchmark.out" | grep -c 'requests per second')" -eq 2 ] ||
		fail "redis-benchmark does not tell two figures"
	! grep -qi 'protocol error\|connection' "$work/benchmark.out" || fail "redis-benchmark complains"
}

test_keyvalue_serves_redis_cli()
{
	have redis-cli || return 0
	start_server 15_keyvalue
	expect_same OK "$(cli set a 1)"
	expect_same 1 "$(cli GET a)"
	expect_same "" "$(cli get b)"
	expect_same 1 "$(cli dbsize)"
	expect_same 1 "$(cli del a)"
	expect_same 0 "$(cli del a)"
	expect_same hello "$(cli echo hello)"
	expect_same PONG "$(cli ping)"
	expect_same "ERR unknown command" "$(cli incr a)"
	expect_same "ERR wrong number of arguments" "$(cli get a b)"
	interrupt "$pid"
}

# Any bytes, and nearly as many as max_message; 200 KB of commands in one go, and their answers.
test_keyvalue_keeps_large_values_and_many()
{
	have redis-cli || return 0
	start_server 15_keyvalue
	head -c 1000000 /dev/urandom >"$work/sent"
	expect_same OK "$(cli -x set large <"$work/sent")"
	cli get large | head -c 1000000 | cmp - "$work/sent" || fail "it is not what was set"
	for _ in 1 2; do
		awk 'BEGIN { for (i = 10000; i < 15000; i++)
			printf "*3\r\n$3\r\nSET\r\n$6\r\nk%d\r\n$5\r\nhello\r\n", i }' |
			cli --pipe >"$work/pipe.out"
		grep -qx 'errors: 0, replies: 5000' "$work/pipe.out" || fail "$(cat "$work/pipe.out")"
	done
	expect_same 5001 "$(cli dbsize)"
	interrupt "$pid"
}

test_keyvalue_bears_redis_benchmark()
{
	have redis-benchmark || return 0
	start_server 15_keyvalue
	benchmark -n 5000 -P 1
	benchmark -n 20000 -P 16
	interrupt "$pid"
}

# The commands in front of what is malformed are served, and what is wrong is told.
test_keyvalue_tells_what_is_malformed()
{
	local ping='*1\r\n$4\r\nping\r\n'

	have nc || return 0
	start_server 15_keyvalue
	printf "$ping\r\n*0\r\n$ping*1\r\n\$4\r\npingxx" | within nc -N 127.0.0.1 "$port" >"$work/got"
	expect_same "$(printf '+PONG\r\n+PONG\r\n-ERR Protocol error: malformed message\r')" "$(cat "$work/got")"
	for wrong in 'GET a\r\n' '*-1\r\n' '*x\r\n' '*1\r\n:1\r\n' '*1\r\n$\r\n' '*12345678901\r\n'; do
		printf "$wrong" | within nc -N 127.0.0.1 "$port" >"$work/got"
		expect_same "$(printf -- '-ERR Protocol error: malformed message\r')" "$(cat "$work/got")"
	done
	printf '*2\r\n$4\r\necho\r\n$999999999\r\n' | within nc -N 127.0.0.1 "$port" >"$work/got"
	expect_same "$(printf -- '-ERR Protocol error: over a limit\r')" "$(cat "$work/got")"
	interrupt "$pid"
}

run_cases
