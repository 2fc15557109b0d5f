/* SPDX-License-Identifier: MIT */
#include "support/fibers.h"

#include <unistd.h>

const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE, .fibers = true);
const sttcp_options raw = FRAMED(.fibers = true);

struct event parked = EVENT_INIT;
struct event woken = EVENT_INIT;
atomic_int slept;

sttcp_stats stats_of(sttcp_server *server)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	return stats;
}

bool has_fibers(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &raw);
	bool has = server != NULL;

	sttcp_server_free(server);
#ifndef __GLIBC__
	has = false; /* no makecontext: what follows is about threads that are not there */
#endif
	return has;
}

sttcp_server *listen_with(struct book *book, const sttcp_options *options,
			  bool (*opened)(struct book *book, sttcp_conn *conn), script_fn *script)
{
	book->opened = opened;
	book->script = script;
	return book_listen(book, options);
}

bool recv_for_ever(struct book *book, sttcp_conn *conn)
{
	char byte;

	(void)book;
	event_raise(&parked);
	atomic_store(&slept, (int)sttcp_conn_recv(conn, &byte, 1, -1));
	event_raise(&woken);
	return true;
}

bool sleep_a_while(struct book *book, sttcp_conn *conn)
{
	int64_t began = now_ms();

	(void)book;
	(void)conn;
	event_raise(&parked);
	atomic_store(&slept, sttcp_sleep(300));
	results[0] = (ssize_t)(now_ms() - began);
	event_raise(&woken);
	return true;
}
