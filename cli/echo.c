/* SPDX-License-Identifier: MIT */
/*
 * sttcp echo: sends back what it gets.
 */
#include "cli.h"
#include "files.h"
#include "serve.h"

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send_message(conn, data, size);
}

static int run(struct common *common, char **words, int nwords)
{
	sttcp_server *server;

	(void)nwords;
	common->server.end_idle_at_stop = true; /* nobody is owed an answer */
	files_raise_limit();
	server = serve_new(common, words[0]);
	must(sttcp_server_on_receive(server, echo));
	return serve(common, server, &(struct serving){0});
}

const struct verb verb_echo = {
	.name = "echo",
	.words = "[HOST:]PORT",
	.least = 1,
	.most = 1,
	.about = "send back what comes",
	.more = "Try it with 'sttcp connect localhost:PORT' or 'nc localhost PORT'.",
	.takes = TAKES_TLS | TAKES_FRAMING | TAKES_IDLE | TAKES_LIMITS | TAKES_DRAIN | TAKES_STATS |
		 TAKES_JSON,
	.run = run,
};
