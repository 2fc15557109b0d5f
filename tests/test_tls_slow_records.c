/* SPDX-License-Identifier: MIT */
/* Records that come byte by byte, as over a slow line (G14): who sends them is not silent, and a
 * message has begun with the first byte of its record. */
#include "support/support.h"
#include "support/tls_stage.h"

#include <openssl/ssl.h>

enum {
	LIMIT_MS = 1000,
	/* The pieces of a record come so far apart, */
	GAP_MS = 200,
	/* and take twice as long as the limit. */
	PIECES = 2 * LIMIT_MS / GAP_MS,
	HEADER = 5,
	TRIES_MS = 3 * DEADLINE_MS
};

struct slow_record {
	unsigned char bytes[1024];
	size_t size;
};

static void encrypt(struct tls_peer *peer, const char *text, struct slow_record *record)
{
	BIO *out = BIO_new(BIO_s_mem());

	assert_non_null(out);
	SSL_set0_wbio(peer->ssl, out);
	assert_int_equal(SSL_write(peer->ssl, text, (int)strlen(text)), strlen(text));
	int size = BIO_read(out, record->bytes, sizeof(record->bytes));

	assert_true(size > (int)strlen(text) && size < (int)sizeof(record->bytes));
	record->size = (size_t)size;
	assert_int_equal(SSL_set_wfd(peer->ssl, peer->fd), 1);
}

/* The longest time between two pieces, from count_gaps on. */
static int64_t last_ms, longest_ms;

static void count_gaps(void)
{
	last_ms = now_ms();
	longest_ms = 0;
}

/* Where a piece came that late this machine has broken the limit, and no case can tell. */
static bool was_in_time(void)
{
	return longest_ms <= LIMIT_MS / 2;
}

/* The other side may have ended meanwhile, which is what the cases look for. */
static void send_some(struct tls_peer *peer, const unsigned char *bytes, size_t size)
{
	ignore(send(peer->fd, bytes, size, MSG_NOSIGNAL));
	int64_t gap_ms = now_ms() - last_ms;

	longest_ms = gap_ms > longest_ms ? gap_ms : longest_ms;
	last_ms += gap_ms;
}

/* All but its last byte; no more once one was late. */
static void send_slowly(struct tls_peer *peer, const struct slow_record *record)
{
	size_t step = record->size / PIECES;
	size_t at = 0;

	for (; at + step < record->size && was_in_time(); at += step) {
		send_some(peer, record->bytes + at, step);
		nap_ms(GAP_MS);
	}
	send_some(peer, record->bytes + at, record->size - 1 - at);
}

static void send_last(struct tls_peer *peer, const struct slow_record *record)
{
	send_some(peer, record->bytes + record->size - 1, 1);
}

struct line {
	struct probe *probe;
	sttcp_server *server;
	struct tls_peer peer;
};

static void line_open(struct line *line, const sttcp_options *options)
{
	line->probe = probe_new();
	line->server = probe_listen(line->probe, options);
	count_gaps();
	tls_peer_open(&line->peer, sttcp_server_port(line->server));
	assert_true(probe_wait(line->probe, STTCP_CONNECTION, 1));
}

static void line_end(struct line *line)
{
	tls_peer_close(&line->peer);
	sttcp_server_free(line->server);
	probe_free(line->probe);
}

/* With a message that has come. One that is said past the limit comes too late. */
static void line_begin(struct line *line, const sttcp_options *options)
{
	for (;; line_end(line)) {
		int64_t began = now_ms();

		line_open(line, options);
		count_gaps();
		ignore(tls_peer_say(&line->peer, "first\n"));
		EVENTUALLY(probe_count(line->probe, STTCP_RECEIVE) ||
			   probe_count(line->probe, STTCP_DISCONNECTION));
		if (probe_count(line->probe, STTCP_RECEIVE))
			return;
		assert_true(now_ms() - began >= LIMIT_MS);
	}
}

static void expect_end(struct line *line, int reason)
{
	assert_true(probe_wait(line->probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(line->probe), reason);
	line_end(line);
}

static void expect_no_end(void (*begin)(struct line *line, const sttcp_options *options),
			  const sttcp_options *options)
{
	bool judged = false;

	for (int64_t until = now_ms() + TRIES_MS; !judged;) {
		struct slow_record record;
		struct line line;

		assert_true(now_ms() < until);
		begin(&line, options);
		long before = probe_count(line.probe, STTCP_RECEIVE);

		encrypt(&line.peer, "a text that takes its time\n", &record);
		send_slowly(&line.peer, &record);
		long ends = probe_count(line.probe, STTCP_DISCONNECTION);

		send_last(&line.peer, &record);
		judged = was_in_time();
		if (judged) {
			assert_int_equal(ends, 0);
			assert_true(probe_wait(line.probe, STTCP_RECEIVE, before + 1));
		}
		line_end(&line);
	}
}

static void slow_record_is_no_silence(void **state)
{
	(void)state;
	expect_no_end(line_begin,
		      STTCP_OPTIONS(.tls = stage_shared_server(), .idle_timeout_ms = LIMIT_MS));
}

static void slow_record_has_a_first_byte(void **state)
{
	(void)state;
	expect_no_end(line_open, STTCP_OPTIONS(.tls = stage_shared_server(),
					       .first_byte_timeout_ms = LIMIT_MS));
}

/* Bytes that are no messages have no limit of one. */
static void slow_record_of_raw_bytes_is_no_message(void **state)
{
	(void)state;
	expect_no_end(line_begin,
		      STTCP_OPTIONS(.tls = stage_shared_server(), .message_timeout_ms = LIMIT_MS));
}

static void silence_amid_a_record_is(void **state)
{
	struct slow_record record;
	struct line line;

	(void)state;
	line_begin(&line, STTCP_OPTIONS(.tls = stage_shared_server(), .idle_timeout_ms = LIMIT_MS));
	encrypt(&line.peer, "a text", &record);
	send_some(&line.peer, record.bytes, record.size - 1);
	expect_end(&line, STTCP_ETIME_IDLE);
}

static void line_begin_by_message(struct line *line)
{
	line_begin(line, STTCP_OPTIONS(.tls = stage_shared_server(), .framing = STTCP_FRAMING_LINE,
				       .message_timeout_ms = LIMIT_MS));
}

/* However little of it has come: its header, or all but a byte. */
static void message_begins_with_the_first_bytes_of_its_record(void **state)
{
	for (int header_alone = 0; header_alone < 2; header_alone++) {
		struct slow_record record;
		struct line line;

		(void)state;
		line_begin_by_message(&line);
		encrypt(&line.peer, "second\n", &record);
		send_some(&line.peer, record.bytes, header_alone ? HEADER : record.size - 1);
		expect_end(&line, STTCP_ETIME_MESSAGE);
	}
}

/* Nor does it help to send it byte by byte. */
static void limit_of_a_message_counts_from_there(void **state)
{
	struct slow_record record;
	struct line line;
	int64_t began = now_ms();

	(void)state;
	line_begin_by_message(&line);
	encrypt(&line.peer, "a text that takes its time\n", &record);
	for (size_t at = 0; !probe_count(line.probe, STTCP_DISCONNECTION); at++) {
		assert_true(at < record.size - 1);
		send_some(&line.peer, record.bytes + at, 1);
		nap_ms(LIMIT_MS / 10);
	}
	assert_true(now_ms() - began >= LIMIT_MS);
	expect_end(&line, STTCP_ETIME_MESSAGE);
}

/* The first bytes come along with a whole record, after which there is no further event. */
static void part_behind_a_record_begins_one(void **state)
{
	struct slow_record whole, part;
	struct line line;

	(void)state;
	line_begin_by_message(&line);
	encrypt(&line.peer, "second\n", &whole);
	encrypt(&line.peer, "third\n", &part);
	memcpy(whole.bytes + whole.size, part.bytes, part.size - 1);
	send_some(&line.peer, whole.bytes, whole.size + part.size - 1);
	assert_true(probe_wait(line.probe, STTCP_RECEIVE, 2));
	expect_end(&line, STTCP_ETIME_MESSAGE);
}

static void whole_record_leaves_no_limit_behind(void **state)
{
	bool judged = false;

	(void)state;
	for (int64_t until = now_ms() + TRIES_MS; !judged;) {
		struct slow_record record;
		struct line line;

		assert_true(now_ms() < until);
		line_begin_by_message(&line);
		encrypt(&line.peer, "second\n", &record);
		count_gaps();
		send_some(&line.peer, record.bytes, record.size - 1);
		nap_ms(LIMIT_MS / 10);
		send_last(&line.peer, &record);
		judged = was_in_time();
		if (judged) {
			assert_true(probe_wait(line.probe, STTCP_RECEIVE, 2));
			nap_ms(LIMIT_MS * 2);
			assert_int_equal(probe_count(line.probe, STTCP_DISCONNECTION), 0);
		}
		line_end(&line);
	}
}

/* Behind the peer's end there are no records, whatever it sends. */
static void nothing_begins_behind_the_end(void **state)
{
	struct line line;

	(void)state;
	line_begin(&line, STTCP_OPTIONS(.tls = stage_shared_server(), .framing = STTCP_FRAMING_LINE,
					.half_close = true, .message_timeout_ms = LIMIT_MS));

	BIO *out = BIO_new(BIO_s_mem());
	unsigned char bytes[256];

	assert_non_null(out);
	SSL_set0_wbio(line.peer.ssl, out);
	assert_true(SSL_shutdown(line.peer.ssl) >= 0);
	int size = BIO_read(out, bytes, sizeof(bytes) - 1);

	assert_true(size > 0);
	bytes[size++] = 23; /* the type of a record */
	assert_int_equal(SSL_set_wfd(line.peer.ssl, line.peer.fd), 1);
	send_some(&line.peer, bytes, (size_t)size);
	assert_true(probe_wait(line.probe, STTCP_END, 1));
	nap_ms(LIMIT_MS * 2);
	assert_int_equal(probe_count(line.probe, STTCP_DISCONNECTION), 0);
	line_end(&line);
}

/* The same where a program has dialled, and reads. */

struct client {
	int port;
	sttcp_tls *tls;
	int32_t idle_ms, message_ms;
	size_t bytes; /* to be read whatever messages they are; 0: a message */
	ssize_t got;
};

static void *dial_and_read(void *argument)
{
	struct client *client = argument;
	char text[64];
	sttcp_conn *conn = sttcp_dial(
		"127.0.0.1", client->port,
		STTCP_OPTIONS(.tls = client->tls, .framing = STTCP_FRAMING_LINE,
			      .idle_timeout_ms = client->idle_ms,
			      .message_timeout_ms = client->message_ms, .linger_timeout_ms = 0),
		NULL);

	if (!conn)
		client->got = -1;
	else if (client->bytes)
		client->got = sttcp_conn_recv_exactly(conn, text, client->bytes, DEADLINE_MS);
	else
		client->got = sttcp_conn_recv_message(conn, text, sizeof(text), DEADLINE_MS);
	sttcp_conn_unref(conn);
	return NULL;
}

static ssize_t read_once(int32_t idle_ms, int32_t message_ms, size_t bytes)
{
	struct client client = {.tls = stage_shared_client(),
				.idle_ms = idle_ms,
				.message_ms = message_ms,
				.bytes = bytes};
	struct slow_record record;
	struct tls_peer peer;
	pthread_t thread;
	int listener = peer_listen(&client.port, 8);

	assert_int_equal(pthread_create(&thread, NULL, dial_and_read, &client), 0);
	tls_peer_adopt(&peer, peer_accept(listener), true, TLS1_3_VERSION);
	count_gaps();
	assert_true(tls_peer_shake(&peer));
	encrypt(&peer, "a text that takes its time\n", &record);
	send_slowly(&peer, &record);
	send_last(&peer, &record);
	pthread_join(thread, NULL);
	tls_peer_close(&peer);
	peer_close(listener);
	return client.got;
}

static ssize_t read_slowly(int32_t idle_ms, int32_t message_ms, size_t bytes)
{
	ssize_t got;
	int64_t until = now_ms() + TRIES_MS;

	do {
		assert_true(now_ms() < until);
		got = read_once(idle_ms, message_ms, bytes);
	} while (!was_in_time());
	return got;
}

static void reader_that_waits_counts_the_same(void **state)
{
	(void)state;
	assert_int_equal(read_slowly(LIMIT_MS, 0, 0), strlen("a text that takes its time"));
	assert_int_equal(read_slowly(0, LIMIT_MS, 0), STTCP_ETIME_MESSAGE);
}

/* Whoever reads bytes waits for no message, though the connection has a framing. */
static void reader_of_bytes_is_not_held_to_messages(void **state)
{
	(void)state;
	assert_int_equal(read_slowly(LIMIT_MS, LIMIT_MS, 6), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_record_is_no_silence),
		cmocka_unit_test(slow_record_has_a_first_byte),
		cmocka_unit_test(slow_record_of_raw_bytes_is_no_message),
		cmocka_unit_test(silence_amid_a_record_is),
		cmocka_unit_test(message_begins_with_the_first_bytes_of_its_record),
		cmocka_unit_test(limit_of_a_message_counts_from_there),
		cmocka_unit_test(part_behind_a_record_begins_one),
		cmocka_unit_test(whole_record_leaves_no_limit_behind),
		cmocka_unit_test(nothing_begins_behind_the_end),
		cmocka_unit_test(reader_that_waits_counts_the_same),
		cmocka_unit_test(reader_of_bytes_is_not_held_to_messages),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
