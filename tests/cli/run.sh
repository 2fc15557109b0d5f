#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh MODULE...: runs the Python tests of this folder.
set -eu

cd "$(dirname "$0")"
python=/usr/bin/python3
[ -x "$python" ] || python=python3
if ! command -v "$python" >/dev/null; then
	echo "NOT TESTED: $python is not there"
	[ "${STTCP_ALL_PEERS:-}" != 1 ] && exit 77
	exit 1
fi
exec "$python" -B -m unittest -v "$@" </dev/null
