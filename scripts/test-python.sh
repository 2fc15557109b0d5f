#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the Python package into a directory and runs its tests with it:
#
#	scripts/test-python.sh DIRECTORY [--if-headers]
#
# PYTHON in the environment says for which Python (/usr/bin/python3). What else is missing is
# installed; with --if-headers nothing is tested, and that is said, where PYTHON is empty or its
# headers are not there. SANITIZE=address builds with the address and undefined behaviour sanitizers of
# gcc, and leaves out the tests of what is not the package's own code. JOBS says how many modules run
# at a time (as many as there are processors).
set -eu

# Of the caller's it would hide that what a program of a test has printed was never written.
unset PYTHONUNBUFFERED

python=${PYTHON-/usr/bin/python3}
directory=${1:?usage: test-python.sh DIRECTORY [--if-headers]}

skip()
{
	echo "python: NOT TESTED: $*"
	exit 0
}

[ -n "$python" ] || skip "PYTHON is empty"
if [ "${2:-}" = --if-headers ]; then
	"$python" -c 'import os, sysconfig
os.stat(sysconfig.get_paths()["include"] + "/Python.h")' 2>/dev/null ||
		skip "$python has no headers (Debian: python3-dev); make python-test installs them"
fi

PYTHON=$python "$(dirname "$0")/deps.sh" python
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
cd "$(dirname "$0")/../python"
tests=
preload=
if [ "${SANITIZE:-}" = address ]; then
	export CC=gcc CFLAGS='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
	tests='test_seed test_facts test_reasons test_life test_connection test_core test_leaks test_exit
		test_verbs test_with test_log test_fork test_signals test_interrupts test_messages test_timer test_errors
		test_options test_context test_dial test_flow test_sends test_engine test_threads test_robust test_rooms test_tasks
		test_await test_await_dial test_await_dial_reads test_await_dial_ends test_await_dial_many
		test_await_dial_tls test_await_ends test_await_rest test_await_tls test_hammer test_tls_object
		test_tls_server test_tls_client test_tls_start test_tls_process'
	# A thread that the interpreter ends (pthread_exit) leaves the marks of its frames behind, which
	# this compiler's sanitizer then runs into itself where it takes back the signal stack of a
	# thread.
	preload="LD_PRELOAD=$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:use_sigaltstack=0"
fi
echo "python: building for $("$python" --version)"
"$python" -B backend/sttcp_build.py "$directory"
cd tests
# shellcheck disable=SC2086 # lists
env $preload PYTHONPATH="$directory" "$python" -B -X dev run_all.py "${JOBS:-$(nproc)}" $tests
