/* SPDX-License-Identifier: MIT */
/* G9: a thread of the user's that is cancelled while it is in a call of the library is so only when
 * the call has returned: no lock stays held, nothing hangs, and the same objects work as before. */
#include "support/support.h"

#include <signal.h>

enum {
	ROUNDS = 30,
	/* Rounds begin at random moments within this time; nothing is waited for with it. */
	MOMENT_US = 1500,
	/* A call that is still waiting after this has not been cut short. */
	STAYS_MS = 30,
	CAP = 64 * 1024,
	/* More than the kernel takes on both sides, and the cap. */
	LOT = 16 * 1024 * 1024
};

static uint32_t random_state;

/* A thread that is cancelled in `call`, which is called again and again until then if it `loops`.
 * The event's functions are no cancellation points of its own. */
struct victim {
	pthread_t thread;
	int (*call)(struct victim *victim);
	bool loops;
	sttcp_server *server;
	sttcp_client *client;
	sttcp_conn *conn;
	const char *data;
	struct event ready;
	struct event done;
	atomic_int result;
	atomic_int state; /* of cancellation, behind the call */
	atomic_int calls; /* that returned */
};

static void *run_victim(void *argument)
{
	struct victim *victim = argument;
	int cancel = -1;

	event_raise(&victim->ready);
	do {
		atomic_store(&victim->result, victim->call(victim));
		atomic_fetch_add(&victim->calls, 1);
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel);
		atomic_store(&victim->state, cancel);
		event_raise(&victim->done);
		pthread_testcancel();
	} while (victim->loops);
	/* The cancellation comes now, or it came before. */
	for (;;)
		pause();
	return NULL;
}

static void victim_start(struct victim *victim, int (*call)(struct victim *victim))
{
	struct event fresh = EVENT_INIT;

	victim->call = call;
	victim->ready = fresh;
	victim->done = fresh;
	atomic_init(&victim->result, 1);
	atomic_init(&victim->state, -1);
	atomic_init(&victim->calls, 0);
	assert_int_equal(pthread_create(&victim->thread, NULL, run_victim, victim), 0);
	assert_true(event_wait(&victim->ready, 1));
}

static void some_moment(void)
{
	struct timespec time = {.tv_nsec = (long)(next_random(&random_state) % MOMENT_US) * 1000};

	nanosleep(&time, NULL);
}

static void victim_cancel(struct victim *victim)
{
	assert_int_equal(pthread_cancel(victim->thread), 0);
}

/* In a call that waits: the cancellation does not end it. */
static void victim_cancel_waiting(struct victim *victim)
{
	victim_cancel(victim);
	assert_false(event_wait_ms(&victim->done, 1, STAYS_MS));
}

/* The call has returned with its result, and then the thread was cancelled. */
static int victim_finish(struct victim *victim)
{
	void *value = NULL;

	assert_true(event_wait(&victim->done, 1));
	assert_int_equal(pthread_join(victim->thread, &value), 0);
	assert_ptr_equal(value, PTHREAD_CANCELED);
	assert_int_equal(atomic_load(&victim->state), PTHREAD_CANCEL_ENABLE);
	return atomic_load(&victim->result);
}

static void check_echo(int port)
{
	int peer = peer_connect(port);

	assert_true(peer >= 0);
	assert_true(peer_say(peer, "meow"));
	assert_true(peer_expect(peer, "meow"));
	peer_close(peer);
}

static void start_again(sttcp_server *server)
{
	int result = -1;

	EVENTUALLY((result = sttcp_server_start(server)) != -EBUSY);
	assert_int_equal(result, 0);
	check_echo(sttcp_server_port(server));
}

/* ---------------------------------------------------------------------- send */

static int call_send(struct victim *victim)
{
	return sttcp_conn_send(victim->conn, victim->data, LOT);
}

static void *send_more(void *argument)
{
	struct victim *other = argument;

	atomic_store(&other->result, sttcp_conn_send(other->conn, "more", 4));
	event_raise(&other->done);
	return NULL;
}

/* The whole of it leaves as one run of bytes, and whoever waits behind it gets through. */
static void send_at_the_cap_goes_on_when_it_is_cancelled(void **state)
{
	char *lot = malloc(LOT);
	char *got = malloc(LOT);

	(void)state;
	fill_pattern(lot, LOT, 3);
	for (int round = 0; round < ROUNDS / 3; round++) {
		struct pair pair = {0};
		struct victim victim = {.data = lot};
		struct victim other = {.done = EVENT_INIT};

		pair_open(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
		victim.conn = other.conn = pair.conn;
		victim_start(&victim, call_send);
		if (round % 2 == 0) {
			EVENTUALLY(conn_queued(pair.conn) > 0);
			victim_cancel_waiting(&victim);
			assert_int_equal(pthread_create(&other.thread, NULL, send_more, &other), 0);
		} else {
			some_moment();
			victim_cancel(&victim);
		}
		assert_true(peer_recv(pair.peer, got, LOT));
		assert_memory_equal(got, lot, LOT);
		assert_int_equal(victim_finish(&victim), 0);
		if (round % 2 == 0) {
			assert_true(peer_expect(pair.peer, "more"));
			assert_true(event_wait(&other.done, 1));
			pthread_join(other.thread, NULL);
			assert_int_equal(atomic_load(&other.result), 0);
		}
		/* The connection works as before. */
		assert_int_equal(sttcp_conn_send(pair.conn, "still", 5), 0);
		assert_true(peer_expect(pair.peer, "still"));
		assert_int_equal(sttcp_conn_close(pair.conn), 0);
		assert_int_equal(peer_end(pair.peer), 0);
		peer_shutdown(pair.peer);
		assert_int_equal(sttcp_server_stop(pair.server), 0);
		pair_close(&pair);
	}
	free(got);
	free(lot);
}

/* What ends a waiting send ends one that was cancelled, too. */
static void send_at_the_cap_that_is_cancelled_ends_with_its_connection(void **state)
{
	char *lot = calloc(1, LOT);

	(void)state;
	for (int round = 0; round < 9; round++) {
		struct pair pair = {0};
		struct victim victim = {.data = lot};
		size_t bytes;

		pair_open(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
		victim.conn = pair.conn;
		victim_start(&victim, call_send);
		EVENTUALLY(conn_queued(pair.conn) > 0);
		victim_cancel_waiting(&victim);
		if (round % 3 == 0) {
			assert_int_equal(sttcp_conn_abort(pair.conn), 0);
			assert_int_equal(victim_finish(&victim), STTCP_ECLOSED);
		} else if (round % 3 == 1) {
			/* What has begun to leave is flushed, and not torn. */
			assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
			assert_int_equal(peer_drain(pair.peer, &bytes), 0);
			assert_int_equal(bytes, LOT);
			assert_int_equal(victim_finish(&victim), 0);
			assert_int_equal(sttcp_conn_reason(pair.conn), STTCP_ESTOPPED);
		} else {
			peer_reset(pair.peer);
			pair.peer = -1;
			/* A write may have found the reset as a broken pipe. */
			assert_true(victim_finish(&victim) < 0);
		}
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
		pair_close(&pair);
	}
	free(lot);
}

/* ---------------------------------------------------------------- stop, wait, free */

static int call_stop(struct victim *victim)
{
	return sttcp_server_stop(victim->server);
}

static int call_wait(struct victim *victim)
{
	return sttcp_server_wait(victim->server, -1);
}

static int call_wait_a_moment(struct victim *victim)
{
	return sttcp_server_wait(victim->server, 2 * STAYS_MS);
}

static int call_keep_alive(struct victim *victim)
{
	return sttcp_server_keep_alive(victim->server);
}

/* The stop goes on until its connections have ended, and the server can be used again. */
static void stop_goes_on_when_it_is_cancelled(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int round = 0; round < ROUNDS; round++) {
		struct victim victim = {.server = server};
		int peer = peer_connect(sttcp_server_port(server));

		EVENTUALLY(sttcp_server_count(server) == 1);
		sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
		assert_non_null(conn);
		victim_start(&victim, call_stop);
		if (round % 2 == 0) {
			EVENTUALLY(sttcp_conn_stopping(conn));
			victim_cancel_waiting(&victim);
		} else {
			some_moment();
			victim_cancel(&victim);
		}
		sttcp_conn_unref(conn);
		assert_true(peer_say(peer, "still there"));
		assert_true(peer_expect(peer, "still there"));
		peer_close(peer);
		assert_int_equal(victim_finish(&victim), 0);
		assert_int_equal(sttcp_server_wait(server, 0), 0);
		start_again(server);
		EVENTUALLY(sttcp_server_count(server) == 0);
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* So do the calls that wait for it; one with a limit comes back at its limit. */
static void wait_goes_on_when_it_is_cancelled(void **state)
{
	struct probe *probe = probe_new();
	struct sigaction before;
	struct sigaction after;

	(void)state;
	sigaction(SIGINT, NULL, &before);
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int round = 0; round < ROUNDS; round++) {
		struct victim waiting = {.server = server};
		struct victim limited = {.server = server};
		struct victim kept = {.server = server};

		victim_start(&waiting, call_wait);
		victim_start(&limited, call_wait_a_moment);
		victim_start(&kept, call_keep_alive);
		some_moment();
		victim_cancel(&limited);
		victim_cancel_waiting(&waiting);
		victim_cancel_waiting(&kept);
		assert_int_equal(victim_finish(&limited), -ETIMEDOUT);
		check_echo(sttcp_server_port(server));
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(victim_finish(&waiting), 0);
		assert_int_equal(victim_finish(&kept), 0);
		/* G17: the dispositions from before come back. */
		sigaction(SIGINT, NULL, &after);
		assert_ptr_equal(before.sa_handler, after.sa_handler);
		start_again(server);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

struct room {
	struct event inside;
	struct event gate;
};

static void stay(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct room *room = probe->extra;

	(void)conn;
	(void)reason;
	event_raise(&room->inside);
	event_wait(&room->gate, 1);
}

static int call_free(struct victim *victim)
{
	sttcp_server_free(victim->server);
	return 0;
}

/* The context may go when free has returned, and not before. */
static void free_goes_on_when_it_is_cancelled(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		struct probe *probe = probe_new();
		struct room room = {EVENT_INIT, EVENT_INIT};
		struct victim victim = {0};

		probe->ended = stay;
		probe->extra = &room;
		victim.server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(victim.server));
		EVENTUALLY(sttcp_server_count(victim.server) == 1);
		victim_start(&victim, call_free);
		assert_true(event_wait(&room.inside, 1));
		victim_cancel_waiting(&victim);
		event_raise(&room.gate);
		victim_finish(&victim);
		assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
		pthread_mutex_lock(&probe->lock);
		assert_int_equal(probe->releases, 1);
		pthread_mutex_unlock(&probe->lock);
		peer_close(peer);
		probe_free(probe);
	}
}

/* ----------------------------------------------------------------- broadcast */

static int call_broadcast(struct victim *victim)
{
	return sttcp_server_broadcast(victim->server, "0123456789abcdef", 16);
}

/* It goes to all or to none, and each that was begun has returned. */
static void broadcast_is_whole_when_it_is_cancelled(void **state)
{
	enum {
		MEMBERS = 5,
		CANCELLED = 2
	};
	struct probe *probe = probe_new();
	int peers[MEMBERS];

	(void)state;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < MEMBERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == MEMBERS);
	for (int round = 0; round < ROUNDS; round++) {
		struct victim victims[CANCELLED] = {{.loops = true, .server = server},
						    {.loops = true, .server = server}};
		int calls = 0;

		for (int i = 0; i < CANCELLED; i++)
			victim_start(&victims[i], call_broadcast);
		some_moment();
		for (int i = 0; i < CANCELLED; i++)
			victim_cancel(&victims[i]);
		for (int i = 0; i < CANCELLED; i++) {
			assert_int_equal(victim_finish(&victims[i]), MEMBERS);
			calls += atomic_load(&victims[i].calls);
		}
		assert_int_equal(sttcp_server_broadcast(server, "!", 1), MEMBERS);
		for (int i = 0; i < MEMBERS; i++) {
			for (int j = 0; j < calls; j++)
				assert_true(peer_expect(peers[i], "0123456789abcdef"));
			assert_true(peer_expect(peers[i], "!"));
		}
	}
	for (int i = 0; i < MEMBERS; i++)
		peer_close(peers[i]);
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* -------------------------------------------------------------------- client */

static int call_client(struct victim *victim)
{
	int result = sttcp_client_start(victim->client);

	if (result == 0 || result == -EBUSY)
		result = sttcp_client_close(victim->client);
	return result;
}

static int call_client_close(struct victim *victim)
{
	return sttcp_client_close(victim->client);
}

static void check_client(sttcp_client *client, struct probe *probe)
{
	size_t before;

	assert_int_equal(sttcp_client_close(client), 0);
	pthread_mutex_lock(&probe->lock);
	before = probe->total;
	pthread_mutex_unlock(&probe->lock);
	assert_int_equal(sttcp_client_start(client), 0);
	sttcp_conn *conn = client_conn(client);
	assert_int_equal(sttcp_conn_send(conn, "meow", 4), 0);
	assert_true(probe_wait_bytes(probe, before + 4));
	sttcp_conn_unref(conn);
	assert_int_equal(sttcp_client_close(client), 0);
}

/* At random moments of start and close, with a name to be resolved and without. */
static void client_start_and_close_can_be_cancelled(void **state)
{
	struct probe *served = probe_new();

	(void)state;
	served->data = echo_data;
	sttcp_server *server = probe_listen(served, NULL);
	for (int by_name = 0; by_name < 2; by_name++) {
		struct probe *probe = probe_new();
		sttcp_client *client = probe_client(probe, by_name ? "localhost" : "127.0.0.1",
						    sttcp_server_port(server), NULL);

		for (int round = 0; round < ROUNDS; round++) {
			struct victim victim = {.loops = true, .client = client};

			victim_start(&victim, call_client);
			some_moment();
			victim_cancel(&victim);
			assert_int_equal(victim_finish(&victim), 0);
			check_client(client, probe);
		}
		sttcp_client_free(client);
		probe_free(probe);
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	probe_free(served);
}

/* It returns when the last handler has. */
static void client_close_goes_on_when_it_is_cancelled(void **state)
{
	struct probe *served = probe_new();

	(void)state;
	served->data = echo_data;
	sttcp_server *server = probe_listen(served, NULL);
	for (int round = 0; round < 10; round++) {
		struct probe *probe = probe_new();
		struct room room = {EVENT_INIT, EVENT_INIT};

		probe->ended = stay;
		probe->extra = &room;
		sttcp_client *client = probe_dial(probe, sttcp_server_port(server), NULL);
		struct victim victim = {.client = client};
		sttcp_conn_unref(client_conn(client));
		victim_start(&victim, call_client_close);
		assert_true(event_wait(&room.inside, 1));
		victim_cancel_waiting(&victim);
		event_raise(&room.gate); /* for the next disconnection, too */
		assert_int_equal(victim_finish(&victim), 0);
		assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
		check_client(client, probe);
		sttcp_client_free(client);
		probe_free(probe);
	}
	sttcp_server_free(server);
	probe_free(served);
}

/* ------------------------------------------------------------------------ log */

static struct event log_entered = EVENT_INIT;
static struct event log_gate = EVENT_INIT;

/* The log function of the user's may be a cancellation point. */
static void log_pause(int level, const char *text, void *context)
{
	(void)level;
	(void)context;
	if (!strstr(text, "pause: sttcp_conn_pause"))
		return;
	event_raise(&log_entered);
	event_wait(&log_gate, 1);
	pthread_testcancel();
}

static int call_pause(struct victim *victim)
{
	return sttcp_conn_pause(victim->conn);
}

static void pause_goes_on_when_it_is_cancelled_in_the_log(void **state)
{
	struct pair pair = {0};
	struct victim victim = {0};

	(void)state;
	pair_open(&pair, NULL);
	victim.conn = pair.conn;
	sttcp_log_level(4);
	sttcp_set_log(log_pause, NULL);
	victim_start(&victim, call_pause);
	assert_true(event_wait(&log_entered, 1));
	victim_cancel(&victim);
	event_raise(&log_gate);
	assert_int_equal(victim_finish(&victim), 0);
	/* Returns, for no call of the function is left. */
	sttcp_set_log(NULL, NULL);
	sttcp_log_level(3);
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_int_equal(peer_end(pair.peer), 0);
	peer_shutdown(pair.peer);
	assert_int_equal(sttcp_server_stop(pair.server), 0);
	pair_close(&pair);
}

/* ----------------------------------------------------------------------- all */

static int fds_before;

static int take_stock(void **state)
{
	/* The descriptors that stay, of the engine and for signals, come with the first use. */
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);

	(void)state;
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_keep_alive(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
	fds_before = count_fds();
	return 0;
}

/* Every descriptor of these objects has gone with them. */
static int check_stock(void **state)
{
	(void)state;
	EVENTUALLY(count_fds() <= fds_before);
	return 0;
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, take_stock, check_stock)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(send_at_the_cap_goes_on_when_it_is_cancelled),
		CASE(send_at_the_cap_that_is_cancelled_ends_with_its_connection),
		CASE(stop_goes_on_when_it_is_cancelled),
		CASE(wait_goes_on_when_it_is_cancelled),
		CASE(free_goes_on_when_it_is_cancelled),
		CASE(broadcast_is_whole_when_it_is_cancelled),
		CASE(client_start_and_close_can_be_cancelled),
		CASE(client_close_goes_on_when_it_is_cancelled),
		CASE(pause_goes_on_when_it_is_cancelled_in_the_log),
	};
	const char *seed = getenv("STTCP_CANCEL_SEED");

	random_state =
		seed ? (uint32_t)strtoul(seed, NULL, 10) : (uint32_t)now_ms() ^ (uint32_t)getpid();
	print_message("STTCP_CANCEL_SEED=%u\n", (unsigned)random_state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
