/* SPDX-License-Identifier: MIT */
/*
 * A relay: passes each connection on to another server, as if the two ends were
 * connected directly. A slow end slows down the other one, which is paused until
 * the queue is drained, so no thread waits. A FIN is passed on, and the other
 * direction stays open. If one end is lost or unreachable, the other is reset.
 *
 * Usage: 14_relay PORT HOST PORT-OF-HOST. Port 0 lets the kernel choose.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sttcp.h>
/* How long a peer may be slow is not for the relay to decide: no write timeout. */
static const sttcp_options options = {sizeof(options), .half_close = true, .write_timeout_ms = -1};
static char **words; /* of the command line */
static void let_go(void *conn)
{
	sttcp_conn_unref(conn);
}
static int64_t queued(const sttcp_conn *conn)
{
	sttcp_conn_counts counts = {0};
	return sttcp_conn_stats(conn, &counts, sizeof(counts)) < 0 ? 0 : counts.queued;
}
/* The handler of both ends. The far one has the near one as its context, the near one has none. */
static bool relay(sttcp_event event, sttcp_conn *conn, const void *data, size_t size, void *near)
{
	sttcp_conn *other = near ? near : sttcp_conn_data(conn);

	if (event == STTCP_RECEIVE || event == STTCP_RESPONSE) {
		if (sttcp_conn_send(other, data, size) < 0)
			sttcp_conn_abort(conn);
		else if (queued(other) > 262144 && sttcp_conn_pause(conn) == 0 &&
			 queued(other) == 0)
			sttcp_conn_resume(conn); /* it was drained just before the pause */
	} else if (event == STTCP_END) {
		sttcp_conn_shutdown(other);
	} else if (event == STTCP_CONNECTION && near) {
		sttcp_conn_set_data(near, sttcp_conn_ref(conn), let_go);
		if (sttcp_conn_resume(near) < 0)
			sttcp_conn_fail_now(conn, 0, "the near end is gone");
	} else if (event == STTCP_DISCONNECTION || event == STTCP_UNCONNECTED) {
		if (sttcp_conn_reason(conn) != 0) /* 0: both FINs have been passed on */
			sttcp_conn_abort(other);
		sttcp_client_free(sttcp_conn_client(conn)); /* the near end has none */
	}
	return true;
}
static void resume_other(sttcp_conn *conn, void *near)
{
	sttcp_conn_resume(near ? near : sttcp_conn_data(conn));
}
static bool dial(sttcp_conn *near, void *context)
{
	sttcp_client *far = sttcp_client_new(words[2], atoi(words[3]), &options);
	(void)context, sttcp_conn_pause(near); /* until the far end is there */
	if (sttcp_client_on_release(far, let_go) == 0 &&
	    sttcp_client_set_context(far, sttcp_conn_ref(near)) == 0 &&
	    sttcp_client_on_universal(far, relay) == 0 &&
	    sttcp_client_on_drained(far, resume_other) == 0 && sttcp_client_start(far) == 0)
		return true;
	sttcp_client_free(far);
	return false;
}
int main(int argc, char **argv)
{
	if (argc != 4)
		return fprintf(stderr, "usage: %s PORT HOST PORT-OF-HOST\n", argv[0]) != 0;
	words = argv, setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	sttcp_server *server = sttcp_server_new("127.0.0.1", atoi(words[1]), &options);
	if (sttcp_server_on_universal(server, relay) < 0 ||
	    sttcp_server_on_connection(server, dial) < 0 ||
	    sttcp_server_on_drained(server, resume_other) < 0 || sttcp_server_start(server) < 0)
		return fprintf(stderr, "%s\n", sttcp_server_error(server)) != 0;
	printf("listening on %d\n", sttcp_server_port(server));
	sttcp_server_keep_alive(server);
	sttcp_keep_alive(); /* what is queued for far ends still leaves */
	sttcp_server_free(server);
}
