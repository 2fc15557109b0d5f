#!/bin/sh
# SPDX-License-Identifier: MIT
# What the header declares stands in all lists, and the check would notice if it did not: who adds an
# option and forgets its rule gets one that is never checked, without a word.
set -eu
"$STTCP_SOURCE_DIR/scripts/check-lists.sh" --self-test
"$STTCP_SOURCE_DIR/scripts/check-lists.sh"
# What docs/internals.md and the models name is there.
"$STTCP_SOURCE_DIR/scripts/check-names.sh" --self-test
"$STTCP_SOURCE_DIR/scripts/check-names.sh"
