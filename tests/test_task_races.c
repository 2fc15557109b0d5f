/* SPDX-License-Identifier: MIT */
/*
 * Threads give and cancel tasks on connections that come, block, and end in every way, while
 * servers stop. Each task that was taken is freed exactly once, after its last call and before the
 * release of its server; none runs beside another handler of its connection, or after its
 * disconnection handler.
 *
 * STTCP_TEST_SEED repeats a run.
 */
#include "support/support.h"

#include <limits.h>

enum {
	GIVERS = 3,
	PEERS = 12,
	ROUNDS = 8,
	ROUND_MS = UNDER_TSAN || UNDER_ASAN ? 400 : 250
};

static atomic_int violations;
static atomic_long taken;
static atomic_long freed;
static atomic_long runs;
static atomic_long cancelled;
static atomic_bool released;

static void violate(const char *what)
{
	if (atomic_fetch_add(&violations, 1) < 20)
		fprintf(stderr, "violated: %s\n", what);
}

/* What a connection carries. */
struct record {
	atomic_int inside;
	atomic_bool ended;
	uint32_t random; /* only in its handlers */
	struct record *next;
};

struct load {
	struct record *record;
	atomic_int freed;
	atomic_int running;
	bool repeats;
	atomic_long ran;
	struct load *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sttcp_conn *conns[PEERS];
/* Kept until the end of a round, so that what comes too late is found. */
static struct load *loads;
static struct record *records;

static void enter(struct record *record)
{
	if (atomic_fetch_add(&record->inside, 1))
		violate("beside another handler");
	if (atomic_load(&record->ended))
		violate("after the disconnection handler");
}

static void leave(struct record *record)
{
	atomic_fetch_sub(&record->inside, 1);
}

static void free_load(void *argument)
{
	struct load *load = argument;

	if (atomic_fetch_add(&load->freed, 1))
		violate("freed twice");
	if (atomic_load(&load->running))
		violate("freed while it runs");
	if (atomic_load(&released))
		violate("freed after the release");
	atomic_fetch_add(&freed, 1);
}

static void give(sttcp_conn *conn, uint32_t *random);

static void run_load(sttcp_conn *conn, void *argument)
{
	struct load *load = argument;
	struct record *record = load->record;

	enter(record);
	atomic_fetch_add(&runs, 1);
	if (atomic_load(&load->freed))
		violate("run after it was freed");
	if (atomic_fetch_add(&load->ran, 1) && !load->repeats)
		violate("run twice");
	atomic_fetch_add(&load->running, 1);
	switch (next_random(&record->random) % 24) {
	case 0:
		nap_ms(3);
		break;
	case 1:
		sttcp_conn_send(conn, "task", 4);
		break;
	case 2:
		give(conn, &record->random);
		break;
	case 3:
		sttcp_conn_cancel(conn, next_random(&record->random) % 64);
		break;
	case 4:
		if (next_random(&record->random) % 16 == 0)
			sttcp_conn_close(conn);
		break;
	case 5: {
		char got[8];

		ignore(sttcp_conn_recv(conn, got, sizeof(got), 0));
		break;
	}
	case 6:
		sttcp_conn_pause(conn);
		break;
	case 7:
	case 8:
		sttcp_conn_resume(conn);
		break;
	default:
		break;
	}
	atomic_fetch_sub(&load->running, 1);
	leave(record);
}

static struct load *new_load(sttcp_conn *conn, bool repeats)
{
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		abort();
	load->record = sttcp_conn_data(conn);
	load->repeats = repeats;
	pthread_mutex_lock(&lock);
	load->next = loads;
	loads = load;
	pthread_mutex_unlock(&lock);
	return load;
}

/* Any thread with a reference, and any handler of the connection. */
static void give(sttcp_conn *conn, uint32_t *random)
{
	uint32_t kind = next_random(random) % 4;
	int ms = (int)(next_random(random) % 4);
	int64_t id;

	if (kind == 3 && next_random(random) % 2)
		ms = INT_MAX;

	struct load *load = new_load(conn, kind == 3);

	if (kind < 2)
		id = sttcp_conn_run(conn, run_load, load, free_load);
	else if (kind == 2)
		id = sttcp_conn_after(conn, ms, run_load, load, free_load);
	else
		id = sttcp_conn_every(conn, ms, run_load, load, free_load);
	if (id < 0) {
		if (atomic_load(&load->freed) || atomic_load(&load->ran))
			violate("a task that was refused is used");
		return;
	}
	atomic_fetch_add(&taken, 1);
	/* Whoever repeats without end is cancelled soon. */
	if (id > 0 && next_random(random) % 4 && sttcp_conn_cancel(conn, id) == 0)
		atomic_fetch_add(&cancelled, 1);
}

static bool on_connection(sttcp_conn *conn, void *context)
{
	struct record *record = calloc(1, sizeof(*record));

	(void)context;
	if (!record)
		abort();
	record->random = (uint32_t)sttcp_conn_id(conn) * 2654435761U | 1;
	sttcp_conn_set_data(conn, record, NULL);
	enter(record);
	give(conn, &record->random);
	pthread_mutex_lock(&lock);
	record->next = records;
	records = record;
	sttcp_conn **place = &conns[sttcp_conn_id(conn) % PEERS];
	sttcp_conn *old = *place;

	*place = sttcp_conn_ref(conn);
	pthread_mutex_unlock(&lock);
	if (old)
		sttcp_conn_unref(old);
	bool accepts = next_random(&record->random) % 16;

	leave(record);
	if (!accepts)
		atomic_store(&record->ended, true);
	return accepts;
}

static void on_receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct record *record = sttcp_conn_data(conn);

	(void)data;
	(void)size;
	(void)context;
	enter(record);
	give(conn, &record->random);
	if (next_random(&record->random) % 32 == 0)
		nap_ms(4);
	leave(record);
}

static void on_disconnection(sttcp_conn *conn, int reason, void *context)
{
	struct record *record = sttcp_conn_data(conn);

	(void)reason;
	(void)context;
	enter(record);
	if (sttcp_conn_run(conn, run_load, NULL, NULL) >= 0)
		violate("taken after the end");
	leave(record);
	atomic_store(&record->ended, true);
}

static void on_release(void *context)
{
	(void)context;
	if (atomic_load(&taken) != atomic_load(&freed))
		violate("released before all was freed");
	atomic_store(&released, true);
}

struct giver {
	pthread_t thread;
	uint32_t random;
	int port;
	atomic_bool *over;
};

static void *run_giver(void *argument)
{
	struct giver *giver = argument;

	while (!atomic_load(giver->over)) {
		pthread_mutex_lock(&lock);
		sttcp_conn *conn = conns[next_random(&giver->random) % PEERS];

		if (conn)
			sttcp_conn_ref(conn);
		pthread_mutex_unlock(&lock);
		if (!conn) {
			nap_ms(1);
			continue;
		}
		for (uint32_t i = next_random(&giver->random) % 8; i; i--)
			give(conn, &giver->random);
		switch (next_random(&giver->random) % 64) {
		case 0:
			sttcp_conn_close(conn);
			break;
		case 1:
			sttcp_conn_abort(conn);
			break;
		case 2: {
			int fd = sttcp_conn_detach(conn);

			if (fd >= 0)
				peer_close(fd);
			break;
		}
		default:
			break;
		}
		sttcp_conn_unref(conn);
	}
	return NULL;
}

static void *run_peer(void *argument)
{
	struct giver *giver = argument;

	while (!atomic_load(giver->over)) {
		int fd = peer_connect(giver->port);

		if (fd < 0)
			break;
		for (uint32_t i = next_random(&giver->random) % 64; i; i--)
			if (!peer_say(fd, "hello"))
				break;
		if (next_random(&giver->random) % 4 == 0)
			peer_reset(fd);
		else
			peer_close(fd);
	}
	return NULL;
}

static void free_all(void)
{
	while (records) {
		struct record *next = records->next;

		free(records);
		records = next;
	}
	while (loads) {
		struct load *next = loads->next;

		free(loads);
		loads = next;
	}
}

/* A stop, graceful or by force, in the middle of it, and then all is accounted for. */
static void play(uint32_t seed, int round)
{
	sttcp_server *server =
		sttcp_server_new("127.0.0.1", 0,
				 STTCP_OPTIONS(.idle_timeout_ms = round % 2 ? 50 : 0,
					       .end_idle_at_stop = true, .drain_timeout_ms = 300));
	struct giver givers[GIVERS + 2];
	atomic_bool over = false;

	atomic_store(&released, false);
	assert_int_equal(sttcp_server_on_connection(server, on_connection), 0);
	assert_int_equal(sttcp_server_on_receive(server, on_receive), 0);
	assert_int_equal(sttcp_server_on_disconnection(server, on_disconnection), 0);
	assert_int_equal(sttcp_server_on_release(server, on_release), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < GIVERS + 2; i++) {
		givers[i].random = (seed + (uint32_t)(i + 1 + round * 16) * 40503U) | 1;
		givers[i].port = sttcp_server_port(server);
		givers[i].over = &over;
		assert_int_equal(pthread_create(&givers[i].thread, NULL,
						i < GIVERS ? run_giver : run_peer, &givers[i]),
				 0);
	}
	nap_ms(ROUND_MS);
	if (round % 3)
		sttcp_server_stop_within(server, round % 3 == 1 ? 0 : 100, NULL);
	atomic_store(&over, true);
	for (int i = 0; i < GIVERS + 2; i++)
		pthread_join(givers[i].thread, NULL);
	sttcp_server_free(server);
	assert_int_equal(atomic_load(&freed), atomic_load(&taken));
	for (int i = 0; i < PEERS; i++) {
		if (conns[i])
			sttcp_conn_unref(conns[i]);
		conns[i] = NULL;
	}
	free_all();
}

static void tasks_are_freed_once_whatever_happens(void **state)
{
	uint32_t seed = test_seed();

	(void)state;
	for (int round = 0; round < ROUNDS; round++)
		play(seed, round);
	print_message("%ld taken, %ld calls, %ld cancelled\n", atomic_load(&taken),
		      atomic_load(&runs), atomic_load(&cancelled));
	assert_int_equal(atomic_load(&violations), 0);
	assert_true(atomic_load(&runs) > 0);
	assert_true(atomic_load(&cancelled) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tasks_are_freed_once_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
