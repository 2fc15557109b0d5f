#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks the locking with clang's -Wthread-safety, which reads the annotations of the lock wrappers.
set -eu

cd "$(dirname "$0")/.."
find src -name '*.c' -print0 | sort -z | xargs -0 -n 1 \
	clang -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -fsyntax-only -Wthread-safety -Werror
echo "check-threads: no finding"
