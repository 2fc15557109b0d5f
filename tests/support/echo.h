/* SPDX-License-Identifier: MIT */
/* An echo server and its peer for children, where cmocka is not: what fails ends the child. */
#ifndef STT_TEST_ECHO_H
#define STT_TEST_ECHO_H

#include "support/support.h"

/* A receive handler that sends back what comes. */
void echo(sttcp_conn *conn, const void *data, size_t size, void *context);

/* A server on a port of the system's choice, not started; and one that echoes, started. */
sttcp_server *server_with(sttcp_receive_handler handler, const sttcp_options *options);
sttcp_server *echo_server(const sttcp_options *options);

/* A peer that has had one answer. */
int echoing_peer(sttcp_server *server);

/* The server at the port answers. */
void check_echo(int port);

#endif
