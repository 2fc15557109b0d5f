#!/bin/sh
# SPDX-License-Identifier: MIT
#
# TLS with nginx and HAProxy on the other end, as in test_tls_openssl.sh.
exec "$(dirname "$0")/peers/run.sh" test_nginx test_haproxy
