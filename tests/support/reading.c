/* SPDX-License-Identifier: MIT */
/* Reads of scripts. */
#include "support/reading.h"

struct event inside;
ssize_t results[16];
char texts[16][64];

void begin_anew(void)
{
	struct event fresh = EVENT_INIT;

	inside = fresh;
	memset(results, 0, sizeof(results));
	memset(texts, 0, sizeof(texts));
}

void open_with(struct talk *talk, const sttcp_options *options, script_fn *script)
{
	begin_anew();
	talk_open_with(talk, options, script);
}

void take_message(sttcp_conn *conn, int at, int timeout_ms)
{
	results[at] = sttcp_conn_recv_message(conn, texts[at], sizeof(texts[at]) - 1, timeout_ms);
}

void take_bytes(sttcp_conn *conn, int at, size_t size, int timeout_ms)
{
	results[at] = sttcp_conn_recv(conn, texts[at], size, timeout_ms);
}

void take_exactly(sttcp_conn *conn, int at, size_t size, int timeout_ms)
{
	results[at] = sttcp_conn_recv_exactly(conn, texts[at], size, timeout_ms);
}
