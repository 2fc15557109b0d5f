#!/bin/sh
# SPDX-License-Identifier: MIT
#
# TLS with the openssl command on the other end. tests/peers has the cases. What is not there is
# reported as NOT TESTED; with STTCP_ALL_PEERS=1 it is an error.
exec "$(dirname "$0")/peers/run.sh" test_openssl
