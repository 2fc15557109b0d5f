#!/bin/sh
# SPDX-License-Identifier: MIT
# Handlers that have a stack of their own, under valgrind, which is told of each switch: the programs
# of the suite that have most to do with stacks, with buffers that go along, and with waits. What a
# test does on purpose (an overflow) is its own to judge; what valgrind finds makes it fail.
set -eu

. "$STTCP_SOURCE_DIR/tests/valgrind/needs.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export STTCP_TEST_FIBERS=1
failed=0

# check SOURCE
check()
{
	name=$(basename "$1" .c)
	# Without TLS some are not built.
	[ -x "$STTCP_BUILD_DIR/tests/$name" ] || return 0
	began=$(date +%s)
	# Without the fair scheduling the thread that a test waits for may wait itself for long.
	if timeout 300 valgrind -q --trace-children=yes --fair-sched=yes --num-callers=40 \
		--error-exitcode=9 "$STTCP_BUILD_DIR/tests/$name" >"$work/out" 2>&1; then
		echo "$name: passed in $(($(date +%s) - began)) s"
		return
	fi
	echo "$name: FAILED"
	cat "$work/out"
	failed=1
}

# A stack is memory of nobody's before it is taken and behind its end, and its guard always is.
# stacks HOW STATUS
stacks()
{
	status=0
	valgrind -q --trace-signals=yes --error-exitcode=9 "$work/stacks" "$1" >"$work/out" 2>&1 || status=$?
	[ "$status" = "$2" ] && return
	echo "stacks $1: left with $status instead of $2"
	cat "$work/out"
	failed=1
}
"${CC:-cc}" -std=c11 -D_GNU_SOURCE -g -O1 -I"$STTCP_SOURCE_DIR/src" -o "$work/stacks" \
	"$STTCP_SOURCE_DIR/tests/valgrind/stacks.c" "$STTCP_BUILD_DIR/libsttcp.a" -pthread
stacks dangling 9
stacks guard 139 # SIGSEGV
stacks well 0
# The search for leaks at the end reads no guard: each word of one would be a fault.
faults=$(grep -c 'signal=11' "$work/out" || true)
if [ "$faults" -gt 1000 ]; then
	echo "stacks: $faults faults"
	failed=1
fi

cd "$STTCP_SOURCE_DIR/tests"
for source in test_fiber*.c test_dial*.c test_foreign.c test_spares.c test_waits.c test_messages.c \
	test_receive.c test_send.c test_stop.c test_tasks.c test_rooms.c test_drained.c \
	test_tls_fibers.c; do
	[ -f "$source" ] || { echo "there is no $source" && exit 1; }
	check "$source"
done
exit $failed
