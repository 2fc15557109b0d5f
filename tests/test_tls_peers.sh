#!/bin/sh
# SPDX-License-Identifier: MIT
#
# TLS with Python's ssl and curl on the other end, as in test_tls_openssl.sh.
exec "$(dirname "$0")/peers/run.sh" test_python test_curl
