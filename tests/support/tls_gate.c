/* SPDX-License-Identifier: MIT */
#include "support/tls_gate.h"

#include <signal.h>

#include "support/support.h"
#include "support/tls_dials.h"
#include "support/tls_good.h"

int gates_set_up(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	return good_files_open(state);
}

static void say_goodbye(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_close(conn);
}

void gate_open(struct gate *gate, const sttcp_options *options)
{
	sttcp_options with_tls = *options;

	gate->probe = probe_new();
	gate->probe->data = echo_data;
	gate->probe->end = say_goodbye;
	gate->tls = sttcp_tls_server(good_certificate, good_key);
	with_tls.tls = gate->tls;
	gate->server = probe_listen(gate->probe, &with_tls);
	gate->port = sttcp_server_port(gate->server);
}

int64_t tls_failed(const struct gate *gate)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(gate->server, &stats, sizeof(stats)), 0);
	return stats.tls_failed;
}

/* Whatever has happened, the next one is served. */
void expect_service(const struct gate *gate)
{
	SSL_CTX *context = tls_dial_context(trusted, 0);
	struct tls_dial dial;

	if (!tls_dial(&dial, context, gate->port, "a.example"))
		fail_msg("the next one is not served: %s", tls_dial_why());
	assert_true(tls_dial_is_answered(&dial));
	assert_true(tls_dial_finish(&dial));
	assert_true(tls_dial_hears_the_end(&dial));
	tls_dial_close(&dial);
	SSL_CTX_free(context);
}

void gate_close(struct gate *gate)
{
	sttcp_server_free(gate->server);
	sttcp_tls_unref(gate->tls);
	probe_free(gate->probe);
}
