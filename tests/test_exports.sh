#!/bin/sh
# SPDX-License-Identifier: MIT
# The library exports what the public header declares, and nothing else.
set -eu
"$STTCP_SOURCE_DIR/scripts/check-exports.sh" "$STTCP_BUILD_DIR"
