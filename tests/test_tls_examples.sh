#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the examples with TLS, with openssl and curl as their peers. scripts/deps.sh test installs
# them; a case without its peer says so. The certificates are made here.

. "$(dirname "$0")/support/examples.sh"

have()
{
	command -v "$1" >/dev/null && return
	[ "${STTCP_ALL_PEERS:-}" != 1 ] || fail "no $1"
	echo "skip $case_name: no $1"
	return 1
}

# No client may hang: the case would fail without a word about it.
within()
{
	timeout "$((2 * deadline_s))" "$@"
}

# authority NAME, and certify NAME WHAT: what it issues, with a subjectAltName.
authority()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
		-subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.pem" 2>"$work/openssl.err" ||
		fail "openssl req"
}

certify()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
		-CA "$work/ca.pem" -CAkey "$work/ca.key" -subj "/CN=$1" \
		-addext "subjectAltName=$2" -addext basicConstraints=critical,CA:FALSE \
		-keyout "$work/$1.key" -out "$work/$1.pem" 2>"$work/openssl.err" || fail "openssl req"
}

fingerprint()
{
	openssl x509 -in "$work/$1.pem" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr A-F a-f
}

# What s_client prints of the server's certificate.
subject()
{
	within openssl s_client -connect "127.0.0.1:$port" -CAfile "$work/ca.pem" \
		-verify_return_error -servername localhost </dev/null 2>/dev/null |
		sed -n 's/^subject=CN = //p'
}

# ----------------------------------------------------------------------- 16_tls

has_reloaded()
{
	grep -q "^reload: $1" "$out" || ended "$pid"
}

test_tls_echoes_and_reloads()
{
	have openssl || return 0
	authority ca
	certify old DNS:localhost
	certify new DNS:localhost
	cp "$work/old.pem" "$work/cert.pem"
	cp "$work/old.key" "$work/key.pem"
	start 16_tls "$work/cert.pem" "$work/key.pem" 0
	read_port
	expect_same old "$(subject)"

	cp "$work/new.pem" "$work/cert.pem"
	kill -HUP "$pid"
	wait_until "a reload in vain" has_reloaded ".*$work/key.pem.* does not fit"
	expect_same old "$(subject)"
	cp "$work/new.key" "$work/key.pem"
	kill -HUP "$pid"
	wait_until "a reload" has_reloaded 'done$'
	expect_same new "$(subject)"

	mkfifo "$work/said"
	within openssl s_client -connect "127.0.0.1:$port" -CAfile "$work/ca.pem" \
		-verify_return_error -quiet -no_ign_eof <"$work/said" >"$work/heard" 2>/dev/null &
	pids+=("$!")
	exec 8>"$work/said"
	echo hello >&8
	wait_until "the echo" grep -qx hello "$work/heard"
	exec 8>&-
	interrupt "$pid"
}

test_tls_says_which_file_is_no_use()
{
	have openssl || return 0
	authority ca
	certify one DNS:localhost
	start 16_tls "$work/one.pem" "$work/ca.key" 0
	reap "$pid"
	expect_same 1 "$status"
	grep -q "$work/ca.key.* does not fit" "$err" || fail "it does not say why"
	start 16_tls "$work/none.pem" "$work/one.key" 0
	reap "$pid"
	grep -q "$work/none.pem cannot be read: No such file" "$err" || fail "it does not say why"
}

# ------------------------------------------------------------------ 17_starttls

start_mail()
{
	authority ca
	certify host DNS:localhost
	start 17_starttls "$work/host.pem" "$work/host.key" 0
	read_port
}

test_starttls_takes_what_curl_sends()
{
	have openssl && have curl || return 0
	start_mail
	printf 'Subject: dots\r\n\r\nthe end\r\n' >"$work/mail"
	within curl -sS --ssl-reqd --cacert "$work/ca.pem" --resolve "localhost:$port:127.0.0.1" \
		"smtp://localhost:$port" --mail-from ann@a.example --mail-rcpt bob@b.example \
		-T "$work/mail" >"$work/curl.out" 2>&1 || fail "curl: status $?"
	wait_until "the mail" grep -qx "an encrypted mail of $(wc -c <"$work/mail") bytes to 1" "$out"
	! within curl -sS "smtp://127.0.0.1:$port" --mail-from ann@a.example \
		--mail-rcpt bob@b.example -T "$work/mail" >"$work/curl.out" 2>&1 ||
		fail "it took a mail in the clear"
	interrupt "$pid"
}

test_starttls_speaks_with_s_client()
{
	have openssl || return 0
	start_mail
	# What was said before STARTTLS (s_client says EHLO) does not count behind it.
	mkfifo "$work/said"
	within openssl s_client -connect "127.0.0.1:$port" -starttls smtp -CAfile "$work/ca.pem" \
		-verify_return_error -crlf -quiet -no_ign_eof <"$work/said" >"$work/heard" \
		2>"$work/s_client.err" &
	pids+=("$!")
	exec 8>"$work/said"
	echo 'MAIL FROM:<a>' >&8
	wait_until "an answer" grep -q '^503 ' "$work/heard"
	echo 'EHLO me' >&8
	wait_until "an answer" grep -q '^250 mail.example' "$work/heard"
	echo 'STARTTLS' >&8
	wait_until "an answer" grep -q '^503 It is encrypted already' "$work/heard"
	echo 'MAIL FROM:<a>' >&8
	wait_until "an answer" grep -q '^250 OK' "$work/heard"
	exec 8>&-
	interrupt "$pid"
}

# Commands that come in one piece with STARTTLS are never carried out: they are no TLS.
test_starttls_obeys_nothing_behind_it()
{
	local conn

	have openssl || return 0
	STTCP_LOG=3 start_mail
	dial conn
	expect_line "$conn" $'220 mail.example\r'
	printf 'EHLO me\r\nMAIL FROM:<a>\r\n' >&"$conn"
	expect_line "$conn" $'250-mail.example\r'
	expect_line "$conn" $'250 STARTTLS\r'
	expect_line "$conn" $'530 Must issue a STARTTLS command first\r'
	printf 'STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil>\r\nQUIT\r\n' >&"$conn"
	expect_line "$conn" $'220 Go ahead\r'
	# All that comes is an alert, in a record of its own.
	timeout "$deadline_s" cat <&"$conn" >"$work/behind"
	hang_up "$conn"
	! grep -aq '250\|221\|503\|530' "$work/behind" || fail "it obeyed: $(cat "$work/behind")"
	wait_until "the reason" grep -q 'does not speak TLS' "$err"
	interrupt "$pid"
}

# ------------------------------------------- 18_known_clients and 19_tls_client

start_club()
{
	authority ca
	certify club DNS:localhost
	certify ann email:ann@a.example
	certify bob email:bob@b.example
	echo "$(fingerprint ann) Ann of A" >"$work/guests"
	start 18_known_clients "$work/club.pem" "$work/club.key" "$work/ca.pem" "$work/guests" 0
	read_port
	club=$pid
	club_out=$out
}

# visit TEXT ARGUMENT...: a client that says so, to its end.
visit()
{
	printf '%s\n' "$1" >"$work/said"
	shift
	input=$work/said start 19_tls_client localhost "$port" "$work/ca.pem" "$@"
	reap "$pid"
}

test_known_clients_are_called_by_their_name()
{
	have openssl || return 0
	start_club
	visit 'hello' "$work/ann.pem" "$work/ann.key"
	expect_same 0 "$status"
	grep -Eqx 'connected to CN=club, TLSv1.3 with TLS_[A-Z0-9_]+' "$out" || fail "it says not where"
	expect_same $'Come in, Ann of A.\nAnn of A: hello' "$(tail -n 2 "$out")"
	visit 'hello' "$work/bob.pem" "$work/bob.key"
	grep -qx 'I do not know you, CN=bob.' "$out" || fail "bob was let in"
	! grep -q hello "$out" || fail "bob was answered"
	# Without a certificate nobody comes through the handshake.
	visit 'hello'
	expect_same 1 "$status"
	grep -q 'requires a certificate' "$err" || fail "it does not say why"
	interrupt "$club"
	expect_same 2 "$(grep -c 'comes in as' "$club_out")"
}

test_a_client_is_told_what_is_wrong_with_the_certificate()
{
	have openssl || return 0
	authority ca
	certify other DNS:b.example
	start 16_tls "$work/other.pem" "$work/other.key" 0
	read_port
	club=$pid
	visit 'hello'
	expect_same 1 "$status"
	grep -q 'the certificate is for b.example, not for localhost' "$err" || fail "it does not say why"
	authority stranger
	cp "$work/stranger.pem" "$work/ca.pem"
	visit 'hello'
	grep -q 'was issued by CN=ca, which is not trusted' "$err" || fail "it does not say why"
	interrupt "$club"
}

run_cases
