#!/bin/sh
# SPDX-License-Identifier: MIT
# The check of commits finds what it has to. The commits themselves are looked at by `make check`.
set -eu
command -v git >/dev/null || { echo "skipped: git is not there" && exit 77; }
"$STTCP_SOURCE_DIR/scripts/check-commits.sh" --self-test
