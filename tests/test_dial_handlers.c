/* SPDX-License-Identifier: MIT */
/* Handlers that dial: a gateway, whose connections end theirs; and no thread is left for it. */
#include "support/dialling.h"
#include "support/hall.h"

/* A gateway's handler asks a back end on this port, and passes the answer on. */
static int back_port;
static atomic_int last_code;
static struct event asked = EVENT_INIT; /* it has dialled, and waits for the answer */
static struct event done = EVENT_INIT;

static bool ask(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	int code;
	char answer[64];
	sttcp_conn *back = sttcp_dial("127.0.0.1", back_port, NULL, &code);

	(void)probe;
	if (back) {
		sttcp_conn_send(back, data, size);
		event_raise(&asked);

		ssize_t got = sttcp_conn_recv(back, answer, sizeof(answer), -1);

		code = (int)got;
		if (got > 0)
			sttcp_conn_send(conn, answer, (size_t)got);
		sttcp_conn_unref(back);
	}
	last_code = code;
	event_raise(&done);
	return true;
}

static void gateway_passes_answers_on(void **state)
{
	struct probe *back = probe_new();
	struct probe *front = probe_new();

	(void)state;
	back->data = echo_data;
	front->data = ask;
	sttcp_server *back_end = probe_listen(back, NULL);
	sttcp_server *gateway = probe_listen(front, NULL);

	back_port = sttcp_server_port(back_end);
	for (int i = 0; i < 20; i++)
		assert_true(peer_is_answered(peer_connect(sttcp_server_port(gateway))));
	sttcp_server_free(gateway);
	sttcp_server_free(back_end);
	probe_free(front);
	probe_free(back);
}

/* A gateway with one peer, and a back end that says nothing. */
struct silent {
	struct pair pair;
	int listener;
	int back;
	long ndone;
};

static void silent_open(struct silent *silent, const sttcp_options *options)
{
	long before = event_count(&asked);

	silent->listener = peer_listen(&back_port, 8);
	silent->ndone = event_count(&done);
	silent->pair = (struct pair){.probe = probe_new()};
	silent->pair.probe->data = ask;
	pair_open(&silent->pair, options);
	assert_true(peer_say(silent->pair.peer, "x"));
	silent->back = peer_accept(silent->listener);
	assert_true(event_wait(&asked, before + 1));
}

/* What its handler has got, and that it has closed the connection to the back end. */
static void silent_ends(struct silent *silent, int code)
{
	assert_true(event_wait(&done, silent->ndone + 1));
	assert_int_equal(last_code, code);
	assert_true(peer_expect(silent->back, "x"));
	assert_int_equal(peer_end(silent->back), 0);
	peer_close(silent->back);
	peer_close(silent->listener);
	pair_close(&silent->pair);
}

static void end_by_force_ends_a_read_of_another(void **state)
{
	struct silent silent;

	(void)state;
	silent_open(&silent, NULL);
	assert_int_equal(sttcp_conn_abort(silent.pair.conn), 0);
	silent_ends(&silent, STTCP_ECLOSED);

	silent_open(&silent, NULL);
	assert_int_equal(sttcp_server_stop_within(silent.pair.server, 0, NULL), 0);
	silent_ends(&silent, STTCP_ESTOPPED);
}

/* A dialled connection is none of the server's, whose stop in order waits for its handler. */
static void close_does_not_end_a_read_of_another(void **state)
{
	struct silent silent;

	(void)state;
	silent_open(&silent, NULL);
	assert_int_equal(sttcp_conn_close(silent.pair.conn), 0);
	assert_false(event_wait_ms(&done, silent.ndone + 1, 50));
	assert_true(peer_say(silent.back, "y"));
	silent_ends(&silent, 1);
}

/* ------------------------------------------------------------------ cancelled attempts */

static struct blackhole hole;
static struct event dials = EVENT_INIT;

static bool dial_the_dead(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	int code = 0;

	(void)probe;
	(void)conn;
	(void)data;
	(void)size;
	event_raise(&dials);

	sttcp_conn *back =
		sttcp_dial("127.0.0.1", hole.port, STTCP_OPTIONS(.connect_timeout_ms = -1), &code);

	last_code = back ? 1 : code;
	if (!strstr(sttcp_dial_error(), "the connection whose handler dials was ended"))
		last_code = 2;
	event_raise(&done);
	return true;
}

static void open_dialling(struct pair *pair)
{
	long before = event_count(&dials);

	*pair = (struct pair){.probe = probe_new()};
	pair->probe->data = dial_the_dead;
	pair_open(pair, NULL);
	assert_true(peer_say(pair->peer, "x"));
	assert_true(event_wait(&dials, before + 1));
}

/* At any moment of it. */
static void end_by_force_cancels_an_attempt(void **state)
{
	(void)state;
	assert_true(blackhole_open(&hole));
	for (int i = 0; i < 10; i++) {
		struct pair pair;
		long before = event_count(&done);

		open_dialling(&pair);
		nap_ms(i / 2);
		assert_int_equal(sttcp_conn_fail_now(pair.conn, -EPROTO, NULL), 0);
		assert_true(event_wait(&done, before + 1));
		assert_int_equal(last_code, -EPROTO);
		pair_close(&pair);
	}
	blackhole_close(&hole);
}

/* G16 */
static void free_cancels_an_attempt(void **state)
{
	struct pair pair;
	long before = event_count(&done);

	(void)state;
	assert_true(blackhole_open(&hole));
	open_dialling(&pair);
	sttcp_server_free(pair.server);
	assert_int_equal(event_count(&done), before + 1);
	assert_int_equal(last_code, STTCP_ESTOPPED);
	sttcp_conn_unref(pair.conn);
	peer_close(pair.peer);
	probe_free(pair.probe);
	blackhole_close(&hole);
}

/* -------------------------------------------------------------------- at max_threads */

enum {
	LAST_PEERS = 6
};

/* Every thread there may be is in this handler, which dials, and asks. */
static int ask_with_all_threads(bool (*handler)(struct probe *probe, sttcp_conn *conn,
						const void *data, size_t size))
{
	struct probe *front = probe_new();
	int peers[LAST_PEERS];

	CHECK(sttcp_engine_configure(1, 3, 0) == 0);
	front->data = handler;
	sttcp_server *gateway = probe_server(front, "127.0.0.1", 0, NULL);

	/* The back end is none of this library's: its handlers would need threads, too. */
	int listener = peer_listen(&back_port, 16);

	CHECK(listener >= 0);
	CHECK(sttcp_server_start(gateway) == 0);
	for (int i = 0; i < LAST_PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(gateway));
		CHECK(peer_say(peers[i], "x"));
	}
	for (int i = 0; i < LAST_PEERS; i++) {
		int asking = peer_accept(listener);

		CHECK(asking >= 0);
		CHECK(peer_expect(asking, "x"));
		CHECK(peer_say(asking, "y"));
		CHECK(peer_end(asking) == 0);
		peer_close(asking);
	}
	for (int i = 0; i < LAST_PEERS; i++) {
		CHECK(peer_expect(peers[i], "y"));
		peer_close(peers[i]);
	}
	sttcp_server_free(gateway);
	peer_close(listener);
	probe_free(front);
	return 0;
}

static int dial_with_the_last_thread(void)
{
	return ask_with_all_threads(ask);
}

static void dial_needs_no_thread_of_handlers(void **state)
{
	(void)state;
	assert_int_equal(process_run("dial_with_the_last_thread"), 0);
}

static struct event at_cap = EVENT_INIT;
static atomic_int nfreed;

static void do_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void count_free(void *argument)
{
	(void)argument;
	atomic_fetch_add(&nfreed, 1);
}

/* What it dials has a task that waits for a thread: before the read begins, or soon after that. */
static bool ask_behind_a_task(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static atomic_int number;
	sttcp_conn *back = sttcp_dial("127.0.0.1", back_port, NULL, NULL);
	char answer[8];

	(void)probe;
	if (!back)
		return false;
	sttcp_conn_send(back, data, size);
	event_wait(&at_cap, 1);
	CHECK(sttcp_conn_run(back, do_nothing, NULL, count_free) == 0);
	if (atomic_fetch_add(&number, 1) % 2)
		nap_ms(20);
	ssize_t got = sttcp_conn_recv(back, answer, sizeof(answer), -1);

	if (got > 0)
		sttcp_conn_send(conn, answer, (size_t)got);
	sttcp_conn_unref(back);
	return got > 0;
}

static int read_with_the_last_thread(void)
{
	hall_note_cap(&at_cap);
	int result = ask_with_all_threads(ask_behind_a_task);

	for (int64_t until = now_ms() + DEADLINE_MS; atomic_load(&nfreed) < LAST_PEERS; nap_ms(1))
		CHECK(now_ms() < until);
	return result;
}

/* A task that has no thread yet is no reason for a reader to wait: nobody else would be there. */
static void a_read_waits_for_no_task_without_a_thread(void **state)
{
	(void)state;
	assert_int_equal(process_run("read_with_the_last_thread"), 0);
}

/* ------------------------------------------------------------------- other callbacks */

static void dial_in_work(void *argument)
{
	(void)argument;

	int code;
	sttcp_conn *conn = sttcp_dial("127.0.0.1", back_port, NULL, &code);

	if (conn)
		sttcp_conn_unref(conn);
	last_code = code;
	event_raise(&done);
}

static void work_dials(void **state)
{
	long before = event_count(&done);

	(void)state;
	int listener = peer_listen(&back_port, 8);

	assert_int_equal(sttcp_run(dial_in_work, NULL), 0);
	assert_true(event_wait(&done, before + 1));
	assert_int_equal(last_code, 0);
	peer_close(listener);
}

/* On a loop, between its turns: there is nobody who could go on. */
static void dial_in_log(int level, const char *line, void *context)
{
	static atomic_flag once = ATOMIC_FLAG_INIT;
	int code;

	(void)level;
	(void)context;
	if (!strstr(line, ": accept on") || atomic_flag_test_and_set(&once))
		return;
	last_code = sttcp_dial("127.0.0.1", back_port, NULL, &code) ? 1 : code;
	event_raise(&done);
}

static void log_callback_on_a_loop_is_refused(void **state)
{
	struct pair pair = {0};
	long before = event_count(&done);

	(void)state;
	sttcp_set_log(dial_in_log, NULL);
	sttcp_log_level(4);
	pair_open(&pair, NULL);
	assert_true(event_wait(&done, before + 1));
	sttcp_set_log(NULL, NULL);
	assert_int_equal(last_code, -EDEADLK);
	pair_close(&pair);
}

static const struct child children[] = {
	{"dial_with_the_last_thread", dial_with_the_last_thread},
	{"read_with_the_last_thread", read_with_the_last_thread},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gateway_passes_answers_on),
		cmocka_unit_test(end_by_force_ends_a_read_of_another),
		cmocka_unit_test(close_does_not_end_a_read_of_another),
		cmocka_unit_test(end_by_force_cancels_an_attempt),
		cmocka_unit_test(free_cancels_an_attempt),
		cmocka_unit_test(dial_needs_no_thread_of_handlers),
		cmocka_unit_test(a_read_waits_for_no_task_without_a_thread),
		cmocka_unit_test(work_dials),
		cmocka_unit_test(log_callback_on_a_loop_is_refused),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
