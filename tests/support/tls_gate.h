/* SPDX-License-Identifier: MIT */
/*
 * A server with TLS that echoes, whatever comes to it: for tests of what should
 * not come. Its files are those of tls_good.h. Asserts.
 */
#ifndef STT_TEST_TLS_GATE_H
#define STT_TEST_TLS_GATE_H

#include "support/support.h"

struct gate {
	struct probe *probe;
	sttcp_tls *tls;
	sttcp_server *server;
	int port;
};

/* For cmocka's groups, in place of good_files_open: nobody dies of SIGPIPE. */
int gates_set_up(void **state);

void gate_open(struct gate *gate, const sttcp_options *options);
void gate_close(struct gate *gate);

/* Connections whose TLS came to nothing. */
int64_t tls_failed(const struct gate *gate);

/* Whatever has happened, the next one is served. */
void expect_service(const struct gate *gate);

#endif
