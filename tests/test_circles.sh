#!/bin/sh
# SPDX-License-Identifier: MIT
# No call goes up a layer, no circle of modules is large, and the check would notice either.
set -eu
"$STTCP_SOURCE_DIR/scripts/check-circles.sh" --self-test
"$STTCP_SOURCE_DIR/scripts/check-circles.sh" "$STTCP_BUILD_DIR"
