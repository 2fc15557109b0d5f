/* SPDX-License-Identifier: MIT */
/* What is said in the header. */
#include "support/dialling.h"

ssize_t dial_result;

sttcp_conn *dial_port(int port, const sttcp_options *options)
{
	int code = 1;
	sttcp_conn *conn = sttcp_dial("127.0.0.1", port, options, &code);

	if (!conn)
		fail_msg("no connection: %s: %s", sttcp_error_name(code), sttcp_dial_error());
	assert_int_equal(code, 0);
	assert_string_equal(sttcp_dial_error(), "");
	return conn;
}

void line_open(struct line_pair *pair, const sttcp_options *options)
{
	int port;

	pair->listener = peer_listen(&port, 8);
	assert_true(pair->listener >= 0);
	pair->conn = dial_port(port, options);
	pair->peer = peer_accept(pair->listener);
	assert_true(pair->peer >= 0);
	/* To a peer in the middle of its handshake a reset is no more than an end. */
	assert_true(over_tls_settle(pair->peer, now_ms() + DEADLINE_MS));
}

void line_close(struct line_pair *pair)
{
	if (pair->conn)
		sttcp_conn_unref(pair->conn);
	if (pair->peer >= 0)
		peer_close(pair->peer);
	if (pair->listener >= 0)
		peer_close(pair->listener);
}

static void *read_there(void *argument)
{
	struct reader *reader = argument;

	event_raise(&reader->begun);
	/* Who looks whether this thread reads reads for that moment, too. */
	do
		reader->result = sttcp_conn_recv(reader->conn, reader->text,
						 sizeof(reader->text) - 1, reader->timeout_ms);
	while (reader->result == -EBUSY);
	if (reader->result >= 0)
		reader->text[reader->result] = '\0';
	event_raise(&reader->ended);
	return NULL;
}

void reader_start(struct reader *reader, sttcp_conn *conn, int timeout_ms)
{
	const struct event none = EVENT_INIT;
	char byte;

	*reader = (struct reader){
		.conn = conn, .timeout_ms = timeout_ms, .begun = none, .ended = none};
	assert_int_equal(pthread_create(&reader->thread, NULL, read_there, reader), 0);
	assert_true(event_wait(&reader->begun, 1));
	EVENTUALLY(sttcp_conn_recv(conn, &byte, 0, 0) == -EBUSY);
}

ssize_t reader_end(struct reader *reader)
{
	assert_int_equal(pthread_join(reader->thread, NULL), 0);
	return reader->result;
}

const char *dial_message(sttcp_conn *conn)
{
	static char text[4096];

	dial_result = sttcp_conn_recv_message(conn, text, sizeof(text) - 1, DEADLINE_MS);
	if (dial_result < 0)
		return NULL;
	text[dial_result] = '\0';
	return text;
}
