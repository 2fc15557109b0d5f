/* SPDX-License-Identifier: MIT */
/* G13: what is held of messages that are not whole counts in total_queue_max, over all
 * connections. */
#include "support/book.h"

enum {
	CAP = 256 * 1024,
	PART = 20 * 1024, /* of a message: two thirds of it */
	PEERS = 64
};

static const sttcp_options capped =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .total_queue_max = CAP);

static struct event refused;
static atomic_int last_code;

static void on_malformed(sttcp_conn *conn, int code, void *context)
{
	(void)context;
	atomic_store(&last_code, code);
	sttcp_conn_send(conn, "\0\4full", 6);
	event_raise(&refused);
}

static sttcp_server *listen_capped(struct book *book, const sttcp_options *options)
{
	struct event fresh = EVENT_INIT;
	sttcp_server *server = book_listen(book, options);

	refused = fresh;
	sttcp_server_stop(server);
	assert_int_equal(sttcp_server_on_malformed(server, on_malformed), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	return server;
}

static int64_t bytes_in(sttcp_server *server)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	return stats.bytes_in;
}

/* Until the library has read it, or refused to. */
static bool say_part(sttcp_server *server, int peer, const void *data, size_t size)
{
	int64_t then = bytes_in(server) + (int64_t)size;
	long before = event_count(&refused);
	bool sent = peer_send(peer, data, size);

	EVENTUALLY(bytes_in(server) >= then || event_count(&refused) > before);
	return sent;
}

static char part[PART] = {0x78, 0}; /* 30 720 bytes follow */

/* A whole message of another one: the only loop has done with all that came before it. */
static void settle(struct book *book, int other)
{
	long before = event_count(&book->changed);

	assert_true(peer_send(other, "\0\1.", 3));
	assert_true(event_wait(&book->changed, before + 1));
}

/* Those that are held go on, and come to their end; who would go over the cap does not. */
static void parts_of_messages_stay_under_the_cap_of_all(void **state)
{
	struct book *book = book_new();
	sttcp_server *server = listen_capped(book, &capped);
	static char rest[2 + 30720 - PART];
	int other = book_join(server);
	int peers[PEERS];
	char answer[6];
	int count = 0;

	(void)state;
	while (count < PEERS && event_count(&refused) == 0) {
		peers[count] = book_join(server);
		assert_true(say_part(server, peers[count++], part, PART));
		settle(book, other);
	}
	assert_in_range(count, 5, CAP / PART + 1);
	assert_int_equal(event_count(&refused), 1);
	assert_int_equal(atomic_load(&last_code), STTCP_ELIMIT);
	assert_true(peer_recv(peers[--count], answer, 6));
	assert_memory_equal(answer, "\0\4full", 6);
	assert_int_equal(peer_end(peers[count]), 0);
	peer_close(peers[count]);

	/* One that is whole makes room for another. */
	assert_true(say_part(server, peers[0], rest, sizeof(rest)));
	settle(book, other);
	peers[count] = book_join(server);
	assert_true(say_part(server, peers[count], part, PART));
	settle(book, other);
	for (int i = 1; i <= count; i++)
		assert_true(say_part(server, peers[i], rest, sizeof(rest)));
	settle(book, other);
	assert_int_equal(event_count(&refused), 1);
	for (int i = 0; i <= count; i++)
		peer_close(peers[i]);
	peer_close(other);
	sttcp_server_free(server);

	int whole = 0;

	for (const char *at = book_text(book); (at = strstr(at, "<30720:")); at++)
		whole++;
	assert_int_equal(whole, count + 1);
	book_free(book);
}

/* What was held is given back however it ended: the queue gets all of the cap. */
static void held_memory_is_given_back(void **state)
{
	struct book *book = book_new();
	sttcp_server *server = listen_capped(book, &capped);
	static char chunk[1024];

	(void)state;
	for (int i = 0; i < PEERS; i++) {
		int peer = book_join(server);

		assert_true(say_part(server, peer, part, PART));
		if (i % 2)
			peer_reset(peer);
		else
			peer_close(peer);
		EVENTUALLY(sttcp_server_count(server) == 0);
	}
	sttcp_server_stop_within(server, 0, NULL);
	/* The last handler of one that was ended may be on its way out. */
	EVENTUALLY(sttcp_server_start(server) == 0);
	int peer = peer_connect_narrow(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 1);
	while (sttcp_conn_try_send(book->conn, chunk, sizeof(chunk)) == 0)
		;
	sttcp_conn_counts counts;
	assert_int_equal(sttcp_conn_stats(book->conn, &counts, sizeof(counts)), 0);
	assert_in_range(counts.queued, CAP - 2 * (int64_t)sizeof(chunk), CAP);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

static void read_two(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	static char message[65536];

	(void)data;
	(void)size;
	book->asked = (long)sttcp_conn_recv_message(conn, message, sizeof(message), -1);
}

/* In a handler that waits for the message, too. */
static void handler_that_reads_is_told_of_the_cap(void **state)
{
	static const sttcp_options narrow_cap =
		FRAMED(.framing = STTCP_FRAMING_LENGTH, .total_queue_max = 150 * 1024);
	struct talk talk = {.book = book_new()};
	static char large[200 * 1024] = {0, 3, 0, 0}; /* 196 608 bytes follow */

	(void)state;
	talk.book->script = read_two;
	talk.server = listen_capped(talk.book, &narrow_cap);
	talk.peer = book_join(talk.server);
	assert_true(peer_send(talk.peer, "\0\0\0\2go", 6));
	peer_send(talk.peer, large, 4 + 196608);
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(talk.book->asked, STTCP_ELIMIT);
	assert_int_equal(event_count(&refused), 1);
	assert_string_equal(sttcp_conn_fail_text(talk.book->conn),
			    "no room for more of a message, total_queue_max is 153600");
	talk_ends(&talk, "<go>", STTCP_ELIMIT);
}

static void pause_it(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	sttcp_conn_pause(conn);
}

/* Messages that are whole and only wait for a reader that is paused end nobody. */
static void paused_connections_are_not_ended(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	talk.book->script = pause_it;
	talk.server = listen_capped(
		talk.book, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .total_queue_max = 100));
	talk.peer = book_join(talk.server);
	assert_true(peer_say(talk.peer, "a\nb\nc\n"));
	for (int i = 1; i <= 3; i++) {
		assert_true(event_wait(&talk.book->changed, i));
		assert_int_equal(sttcp_conn_resume(talk.book->conn), 0);
	}
	talk_ends(&talk, "<a><b><c>", 0);
	assert_int_equal(event_count(&refused), 0);
}

/* ------------------------------------------------------- handlers that wait meanwhile */

static struct event waited;

static void wait_at_the_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)reason;
	(void)context;
	sttcp_sleep(1);
	event_raise(&waited);
}

static void wait_when_drained(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	sttcp_sleep(1);
	event_raise(&waited);
}

/* Also where the last handler waits without a thread. */
static void held_memory_is_given_back_behind_a_wait(void **state)
{
	static const sttcp_options on_fibers =
		FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .total_queue_max = CAP,
		       .fibers = true);
	struct event fresh = EVENT_INIT;
	struct book *book = book_new();
	sttcp_server *server = listen_capped(book, &on_fibers);

	(void)state;
	waited = fresh;
	sttcp_server_stop(server);
	assert_int_equal(sttcp_server_on_disconnection(server, wait_at_the_end), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < PEERS; i++) {
		int peer = book_join(server);

		assert_true(say_part(server, peer, part, PART));
		assert_int_equal(sttcp_conn_close(book->conn), 0);
		assert_true(event_wait(&waited, i + 1));
		peer_close(peer);
	}
	assert_int_equal(event_count(&refused), 0);
	sttcp_server_free(server);
	book_free(book);
}

/* G5: what came of a message before the drained handler waits is not lost. */
static void message_goes_on_behind_a_drained_handler_that_waits(void **state)
{
	static const sttcp_options on_fibers =
		FRAMED(.framing = STTCP_FRAMING_LINE, .fibers = true);
	struct talk talk = {.book = book_new()};
	struct event fresh = EVENT_INIT;
	static char chunk[65536];
	static char got[65536];
	size_t queued = 0;

	(void)state;
	waited = fresh;
	talk.server = book_listen(talk.book, &on_fibers);
	sttcp_server_stop(talk.server);
	assert_int_equal(sttcp_server_on_drained(talk.server, wait_when_drained), 0);
	assert_int_equal(sttcp_server_start(talk.server), 0);
	talk.peer = book_join(talk.server);
	say_and_wait(&talk, "hel", 3);
	while (sttcp_conn_try_send(talk.book->conn, chunk, sizeof(chunk)) == 0)
		queued += sizeof(chunk);
	for (; queued; queued -= sizeof(got))
		assert_true(peer_recv(talk.peer, got, sizeof(got)));
	assert_true(event_wait(&waited, 1));
	say_and_wait(&talk, "lo\n", 3);
	talk_ends(&talk, "<hello>", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_of_messages_stay_under_the_cap_of_all),
		cmocka_unit_test(held_memory_is_given_back),
		cmocka_unit_test(handler_that_reads_is_told_of_the_cap),
		cmocka_unit_test(paused_connections_are_not_ended),
		cmocka_unit_test(held_memory_is_given_back_behind_a_wait),
		cmocka_unit_test(message_goes_on_behind_a_drained_handler_that_waits),
	};

	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
