/* SPDX-License-Identifier: MIT */
/* The drained handler: once after bytes had to wait and all of them have left, and as one handler
 * among the others of its connection. */
#include "support/faults.h"
#include "support/support.h"

enum {
	/* More than the narrow buffers of both sides hold. */
	LONG = 700 * 1024,
	WHILE_MS = 50
};

static char long_text[LONG];

static struct event drained = EVENT_INIT;
static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;

static void begin(void)
{
	struct event fresh = EVENT_INIT;

	drained = fresh;
	inside = fresh;
	gate = fresh;
}

static void note_drained(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	event_raise(&drained);
}

static void block_drained(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	event_raise(&inside);
	event_wait(&gate, 1);
	event_raise(&drained);
}

/* As pair_open, with small buffers and a drained handler. */
static void pair_open_drained(struct pair *pair, const sttcp_options *options,
			      sttcp_drained_handler handler)
{
	begin();
	if (!pair->probe)
		pair->probe = probe_new();
	pair->probe->connection = narrow;
	pair->server = probe_server(pair->probe, "127.0.0.1", 0, options);
	assert_int_equal(sttcp_server_on_drained(pair->server, handler), 0);
	assert_int_equal(sttcp_server_start(pair->server), 0);
	assert_int_equal(sttcp_server_on_drained(pair->server, NULL), -EBUSY);
	pair->peer = peer_connect_narrow(sttcp_server_port(pair->server));
	assert_true(pair->peer >= 0);
	EVENTUALLY(sttcp_server_count(pair->server) == 1);
	pair->conn = sttcp_server_find(pair->server, probe_last_id(pair->probe));
	assert_non_null(pair->conn);
}

static void take_long(int peer)
{
	static char got[LONG];

	assert_true(peer_recv(peer, got, sizeof(got)));
}

static void drained_comes_once_when_all_has_left(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_drained(&pair, NULL, note_drained);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
		nap_ms(WHILE_MS);
		assert_int_equal(event_count(&drained), i - 1);
		take_long(pair.peer);
		assert_true(event_wait(&drained, i));
		nap_ms(WHILE_MS);
		assert_int_equal(event_count(&drained), i);
	}
	pair_close(&pair);
}

static void *send_long(void *argument)
{
	return (void *)(intptr_t)sttcp_conn_send(argument, long_text, LONG);
}

/* A send that waited for room in the queue ends first; then the queue goes, too. */
static void drained_comes_after_a_send_that_waited(void **state)
{
	struct pair pair = {0};
	pthread_t thread;
	void *result;

	(void)state;
	pair_open_drained(&pair, STTCP_OPTIONS(.send_queue_max = 16 * 1024), note_drained);
	assert_int_equal(pthread_create(&thread, NULL, send_long, pair.conn), 0);
	/* Were the peer to read from the start, it might keep up, and nothing would have waited. */
	EVENTUALLY(conn_queued(pair.conn) > 0);
	take_long(pair.peer);
	pthread_join(thread, &result);
	assert_null(result);
	assert_true(event_wait(&drained, 1));
	pair_close(&pair);
}

static void drained_never_comes_for_what_goes_at_once(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_drained(&pair, NULL, note_drained);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(sttcp_conn_send(pair.conn, "direct", 6), 0);
		assert_true(peer_expect(pair.peer, "direct"));
	}
	nap_ms(WHILE_MS);
	assert_int_equal(event_count(&drained), 0);
	pair_close(&pair);
}

static void drained_never_comes_for_gathered_answers(void **state)
{
	struct pair pair = {.probe = probe_new()};
	char lines[64 * 4];

	(void)state;
	pair.probe->data = echo_data;
	pair_open_drained(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE), note_drained);
	for (size_t at = 0; at < sizeof(lines); at += 4)
		memcpy(lines + at, "abc\n", 4);
	for (int i = 0; i < 100; i++) {
		char got[64 * 3];

		assert_true(peer_send(pair.peer, lines, sizeof(lines)));
		assert_true(peer_recv(pair.peer, got, sizeof(got)));
	}
	nap_ms(WHILE_MS);
	assert_int_equal(event_count(&drained), 0);
	pair_close(&pair);
}

/* A refused try_send left nothing that could wait. */
static void drained_comes_for_what_was_taken_only(void **state)
{
	struct pair pair = {0};
	size_t taken = 0;
	size_t got = 0;
	char part[8192];

	(void)state;
	pair_open_drained(&pair, STTCP_OPTIONS(.send_queue_max = 64 * 1024), note_drained);
	while (sttcp_conn_try_send(pair.conn, long_text, sizeof(part)) == 0)
		taken += sizeof(part);
	assert_int_equal(event_count(&drained), 0);
	for (; got < taken; got += sizeof(part))
		assert_true(peer_recv(pair.peer, part, sizeof(part)));
	assert_true(event_wait(&drained, 1));
	nap_ms(WHILE_MS);
	assert_int_equal(event_count(&drained), 1);
	pair_close(&pair);
}

/* One handler of a connection at a time: data waits for the drained handler. */
static void drained_does_not_overlap_what_follows(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_drained(&pair, NULL, block_drained);
	assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
	take_long(pair.peer);
	assert_true(event_wait(&inside, 1));
	assert_true(peer_say(pair.peer, "x"));
	nap_ms(WHILE_MS);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
	event_raise(&gate);
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	assert_int_equal(event_count(&drained), 1);
	pair_close(&pair);
}

static bool send_and_block(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	if (event_count(&inside) > 0)
		return true;
	sttcp_conn_send(conn, long_text, LONG);
	event_raise(&inside);
	event_wait(&gate, 1);
	return true;
}

/* And it waits for them; also behind so many messages that the connection's turn is over before it
 * has its own. */
static void drained_waits_for_the_running_handler(void **state)
{
	enum {
		LINES = 20000
	};
	struct pair pair = {.probe = probe_new()};
	static char lines[LINES * 2];

	(void)state;
	pair.probe->data = send_and_block;
	pair_open_drained(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE), note_drained);
	for (int i = 0; i < LINES; i++)
		memcpy(lines + (ptrdiff_t)i * 2, "x\n", 2);
	assert_true(peer_send(pair.peer, lines, sizeof(lines)));
	assert_true(event_wait(&inside, 1));
	take_long(pair.peer);
	nap_ms(WHILE_MS);
	assert_int_equal(event_count(&drained), 0);
	event_raise(&gate);
	assert_true(event_wait(&drained, 1));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, LINES));
	nap_ms(WHILE_MS);
	assert_int_equal(event_count(&drained), 1);
	pair_close(&pair);
}

/* The end of a connection is told by the disconnection handler alone. */
static void drained_never_comes_after_the_end(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_drained(&pair, NULL, note_drained);
	assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	take_long(pair.peer);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(event_count(&drained), 0);
	pair_close(&pair);
}

/* A forced stop is over before the last bytes have left; from then on the handler may be changed.
 * Only the thread sanitizer sees who looks for it then. */
static void drained_handler_may_change_while_the_rest_leaves(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_drained(&pair, NULL, note_drained);
	assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
	assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
	EVENTUALLY(sttcp_server_on_drained(pair.server, block_drained) == 0);
	take_long(pair.peer);
	assert_int_equal(peer_end(pair.peer), 0);
	assert_int_equal(event_count(&drained), 0);
	pair_close(&pair);
}

static void drained_never_comes_for_what_was_lost(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_drained(&pair, NULL, note_drained);
	assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	peer_reset(pair.peer);
	pair.peer = -1;
	nap_ms(WHILE_MS);
	sttcp_conn_resume(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), -ECONNRESET);
	assert_int_equal(event_count(&drained), 0);
	pair_close(&pair);
}

enum {
	ANSWER = 8 * 1024 * 1024,
	PART = 16 * 1024
};

static unsigned char *answer;
static size_t answered; /* used in handlers of one connection, which do not overlap */

/* A long answer, as far as it goes; the drained handler goes on. */
static void send_more(sttcp_conn *conn, void *context)
{
	(void)context;
	while (answered < ANSWER && sttcp_conn_try_send(conn, answer + answered, PART) == 0)
		answered += PART;
	if (answered == ANSWER)
		sttcp_conn_close(conn);
}

static bool answer_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	send_more(conn, probe);
	return true;
}

static void take_answer(int peer)
{
	static unsigned char got[PART];

	for (size_t at = 0; at < ANSWER; at += PART) {
		assert_true(peer_recv(peer, got, sizeof(got)));
		assert_memory_equal(got, answer + at, sizeof(got));
	}
	assert_int_equal(peer_end(peer), 0);
}

static void drained_handler_goes_on_with_a_long_answer(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	answer = malloc(ANSWER);
	answered = 0;
	assert_non_null(answer);
	fill_pattern(answer, ANSWER, 1);
	pair.probe->data = answer_data;
	pair_open_drained(&pair, STTCP_OPTIONS(.send_queue_max = 64 * 1024), send_more);
	assert_true(peer_say(pair.peer, "x"));
	take_answer(pair.peer);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
	pair_close(&pair);
	free(answer);
}

/* -EAGAIN because of what others have queued is followed by the drained handler, too. */
static void drained_comes_where_others_hold_the_budget(void **state)
{
	struct pair pair = {.probe = probe_new()};
	static char rest[64 * 1024];

	(void)state;
	answer = malloc(ANSWER);
	answered = 0;
	assert_non_null(answer);
	fill_pattern(answer, ANSWER, 1);
	pair.probe->data = answer_data;
	pair_open_drained(&pair, STTCP_OPTIONS(.total_queue_max = 2 * PART), send_more);
	int greedy = peer_connect_narrow(sttcp_server_port(pair.server));
	EVENTUALLY(sttcp_server_count(pair.server) == 2);
	sttcp_conn *conn = sttcp_server_find(pair.server, probe_last_id(pair.probe));
	while (sttcp_conn_try_send(conn, rest, sizeof(rest)) == 0)
		;
	assert_true(peer_say(pair.peer, "x"));
	take_answer(pair.peer);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	sttcp_conn_abort(conn);
	sttcp_conn_unref(conn);
	peer_close(greedy);
	pair_close(&pair);
	free(answer);
}

static atomic_bool held; /* the loop, with what it has to do */

static int wait_while_held(int poller, struct epoll_event *events, int max, int timeout)
{
	int count = real_epoll_wait(poller, events, max, timeout);

	if (atomic_load(&held)) {
		event_raise(&inside);
		event_wait(&gate, 1);
	}
	return count;
}

/* No socket is full: of the first send a part goes at once, and the rest waits for visits of the
 * loop. Behind it there is no room. */
static void drained_comes_after_a_refusal_that_met_no_full_socket(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server =
		probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.send_queue_max = ANSWER));

	(void)state;
	begin();
	answer = calloc(1, ANSWER);
	assert_non_null(answer);
	atomic_store(&stand_in_epoll_wait, wait_while_held);
	assert_int_equal(sttcp_server_on_drained(server, note_drained), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	atomic_store(&held, true);
	assert_true(peer_say(peer, "x"));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(sttcp_conn_try_send(conn, answer, ANSWER / 4), 0);
	assert_int_equal(sttcp_conn_try_send(conn, answer, ANSWER), -EAGAIN);
	atomic_store(&held, false);
	event_raise(&gate);
	assert_true(peer_recv(peer, answer, ANSWER / 4));
	assert_true(event_wait(&drained, 1));
	atomic_store(&stand_in_epoll_wait, NULL);
	sttcp_conn_unref(conn);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
	free(answer);
}

static void receive_in_drained(sttcp_conn *conn, void *context)
{
	char byte;

	if (sttcp_conn_recv(conn, &byte, 1, 0) != -EDEADLK ||
	    sttcp_conn_recv_message(conn, &byte, 1, 0) != -EDEADLK)
		probe_violate(context, "reading in the drained handler");
	event_raise(&drained);
}

static void drained_handler_may_not_read(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_drained(&pair, NULL, receive_in_drained);
	assert_int_equal(sttcp_conn_send(pair.conn, long_text, LONG), 0);
	take_long(pair.peer);
	assert_true(event_wait(&drained, 1));
	pair_close(&pair);
}

static void drained_comes_on_a_client_too(void **state)
{
	int port;
	int listener = peer_listen(&port, 1);
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, "127.0.0.1", port, NULL);

	(void)state;
	begin();
	probe->connection = narrow;
	atomic_store(&stand_in_epoll_wait, wait_while_held);
	assert_int_equal(sttcp_client_on_drained(client, note_drained), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	int peer = peer_accept(listener);
	sttcp_conn *conn = client_conn(client);
	/* More than this side's kernel takes, and the peer's, whose buffer is not small. The loop
	 * does not empty the queue between two sends. */
	size_t taken = 0;

	atomic_store(&held, true);
	assert_true(peer_say(peer, "x"));
	assert_true(event_wait(&inside, 1));
	for (int i = 0; i < 12; i++)
		if (sttcp_conn_try_send(conn, long_text, LONG) == 0)
			taken += LONG;
	while (sttcp_conn_try_send(conn, long_text, 1000) == 0)
		taken += 1000;
	assert_int_equal(event_count(&drained), 0);
	atomic_store(&held, false);
	event_raise(&gate);
	static char part[65536];
	while (taken) {
		size_t size = taken < sizeof(part) ? taken : sizeof(part);

		assert_true(peer_recv(peer, part, size));
		taken -= size;
	}
	assert_true(event_wait(&drained, 1));
	nap_ms(WHILE_MS);
	assert_int_equal(event_count(&drained), 1);
	atomic_store(&stand_in_epoll_wait, NULL);
	sttcp_conn_unref(conn);
	peer_close(peer);
	peer_close(listener);
	sttcp_client_free(client);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drained_comes_once_when_all_has_left),
		cmocka_unit_test(drained_comes_after_a_send_that_waited),
		cmocka_unit_test(drained_never_comes_for_what_goes_at_once),
		cmocka_unit_test(drained_never_comes_for_gathered_answers),
		cmocka_unit_test(drained_comes_for_what_was_taken_only),
		cmocka_unit_test(drained_does_not_overlap_what_follows),
		cmocka_unit_test(drained_waits_for_the_running_handler),
		cmocka_unit_test(drained_never_comes_after_the_end),
		cmocka_unit_test(drained_handler_may_change_while_the_rest_leaves),
		cmocka_unit_test(drained_never_comes_for_what_was_lost),
		cmocka_unit_test(drained_handler_goes_on_with_a_long_answer),
		cmocka_unit_test(drained_comes_where_others_hold_the_budget),
		cmocka_unit_test(drained_comes_after_a_refusal_that_met_no_full_socket),
		cmocka_unit_test(drained_handler_may_not_read),
		cmocka_unit_test(drained_comes_on_a_client_too),
	};

	/* Who holds it holds everybody up. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
