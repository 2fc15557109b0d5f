#!/bin/sh
# SPDX-License-Identifier: MIT
# The includes keep to the layers, and the check would notice if they did not.
set -eu
"$STTCP_SOURCE_DIR/scripts/check-layers.sh" --self-test
"$STTCP_SOURCE_DIR/scripts/check-layers.sh"
