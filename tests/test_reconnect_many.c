/* SPDX-License-Identifier: MIT */
/* G3: a thousand clients of a server that goes and comes back: they do not come in step, none is
 * lost, and none spins. */
#include "support/support.h"

#include <sys/resource.h>

enum {
	MOST_CLIENTS = UNDER_TSAN ? 300 : 1000,
	FIRST_MS = 2000,
	MOST_MS = 4000,
	PORTION = 64, /* fewer than any system's accept queue has room for */
	DRAWERS = 10,
	LATE_DRAWERS = DRAWERS * DEADLINE_MS / FIRST_MS,
	MOST_WAITS = 3 * MOST_CLIENTS
};

/* What belongs to one client: its handlers run one at a time. */
struct one {
	sttcp_client *client;
	int opened;
	int failed;
	int64_t first_try_ms; /* since the server went */
};

static struct {
	struct one clients[MOST_CLIENTS];
	int nclients;
	_Atomic int64_t went_ms;
	struct event opened;
	struct event tried; /* by how many, once each */
} many = {.opened = EVENT_INIT, .tried = EVENT_INIT};

/* From the log: how long they wanted to wait after a connection, each one at least once. */
static struct {
	pthread_mutex_t lock;
	int64_t chosen_ms[MOST_WAITS];
	int count;
	int too_long;
} waits = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool note_open(sttcp_conn *conn, void *context)
{
	struct one *one = context;

	(void)conn;
	one->opened++;
	event_raise(&many.opened);
	return true;
}

static void note_failed(sttcp_conn *conn, int reason, void *context)
{
	struct one *one = context;

	(void)conn;
	(void)reason;
	if (one->failed++)
		return;
	one->first_try_ms = now_ms() - atomic_load(&many.went_ms);
	event_raise(&many.tried);
}

static void note_wait(int level, const char *text, void *context)
{
	const char *words = strstr(text, "connects again in ");
	int wait_ms, tries;

	(void)context;
	if (!words || sscanf(words, "connects again in %d ms, try %d", &wait_ms, &tries) != 2)
		return;
	pthread_mutex_lock(&waits.lock);
	if (level != 3 || wait_ms < 0 || wait_ms > (tries == 1 ? FIRST_MS : MOST_MS))
		waits.too_long++;
	else if (tries == 1 && waits.count < MOST_WAITS)
		waits.chosen_ms[waits.count++] = wait_ms;
	pthread_mutex_unlock(&waits.lock);
}

/* Each has two descriptors here, one on each side. */
static int how_many(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return limit.rlim_max < 2 * MOST_CLIENTS + 200 ? (int)(limit.rlim_max - 200) / 2
						       : MOST_CLIENTS;
}

static void start_clients(const sttcp_server *server)
{
	int port = sttcp_server_port(server);

	for (int i = 0; i < many.nclients; i++) {
		struct one *one = &many.clients[i];

		one->client = sttcp_client_new(
			"127.0.0.1", port,
			STTCP_OPTIONS(.reconnect_ms = FIRST_MS, .reconnect_max_ms = MOST_MS));
		assert_int_equal(sttcp_client_set_context(one->client, one), 0);
		assert_int_equal(sttcp_client_on_connection(one->client, note_open), 0);
		assert_int_equal(sttcp_client_on_unconnected(one->client, note_failed), 0);
		assert_int_equal(sttcp_client_start(one->client), 0);
		/* A client whose last step the kernel drops, because the accept queue is full,
		 * would never hear of the server's end: it is connected, and the server does not
		 * know it. */
		if (i % PORTION == 0)
			EVENTUALLY(sttcp_server_count(server) == i + 1);
	}
}

static void print_histogram(const char *what, const int *drawers, int ndrawers)
{
	print_message("%s, a tenth of %d ms each:\n", what, FIRST_MS);
	while (ndrawers > DRAWERS && !drawers[ndrawers - 1])
		ndrawers--;
	for (int i = 0; i < ndrawers; i++) {
		char bar[81] = "";
		int len = drawers[i] * 400 / many.nclients;

		memset(bar, '#', (size_t)(len > 80 ? 80 : len));
		print_message("%5d ms %5d %s\n", i * FIRST_MS / DRAWERS, drawers[i], bar);
	}
}

static int compare(const void *one, const void *other)
{
	int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;

	return (a > b) - (a < b);
}

/* The waits that were chosen: a tenth in each drawer, give or take six standard deviations of
 * 0.095 of it for a thousand. */
static void check_waits_locked(void)
{
	int ordinary = many.nclients / DRAWERS;
	int spread = many.nclients >= 1000 ? ordinary * 6 / 10 : ordinary * 9 / 10;
	int drawers[DRAWERS] = {0};

	for (int i = 0; i < many.nclients; i++)
		drawers[waits.chosen_ms[i] * DRAWERS / (FIRST_MS + 1)]++;
	print_histogram("the first waits", drawers, DRAWERS);
	for (int i = 0; i < DRAWERS; i++)
		assert_in_range(drawers[i], ordinary - spread, ordinary + spread);
}

/* And the attempts as they came. A busy machine makes them late, and pushes some together. But none
 * comes before its time: there are never more of them than waits that are over. */
static void check_attempts_locked(void)
{
	int drawers[LATE_DRAWERS] = {0};
	static int64_t first_ms[MOST_CLIENTS];

	for (int i = 0; i < many.nclients; i++) {
		first_ms[i] = many.clients[i].first_try_ms;

		int64_t place = first_ms[i] * DRAWERS / FIRST_MS;

		drawers[place < LATE_DRAWERS ? place : LATE_DRAWERS - 1]++;
	}
	print_histogram("the first attempts", drawers, LATE_DRAWERS);
	qsort(first_ms, (size_t)many.nclients, sizeof(*first_ms), compare);
	qsort(waits.chosen_ms, (size_t)waits.count, sizeof(*waits.chosen_ms), compare);
	for (int i = 0; i < many.nclients; i++)
		if (first_ms[i] < waits.chosen_ms[i])
			fail_msg("%d attempts after %d ms, but the wait after that one is %d ms",
				 i + 1, (int)first_ms[i], (int)waits.chosen_ms[i]);
}

static void clients_come_back_one_by_one(void **state)
{
	int port;
	int held = peer_refuse(&port); /* also while no server is there */
	struct probe *side = probe_new();
	sttcp_server *server = probe_server(side, "127.0.0.1", port, NULL);
	long failed = 0;

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	many.nclients = how_many();
	start_clients(server);
	assert_true(event_wait(&many.opened, many.nclients));
	EVENTUALLY(sttcp_server_count(server) == many.nclients);

	sttcp_set_log(note_wait, NULL);
	atomic_store(&many.went_ms, now_ms());
	sttcp_server_free(server); /* with all connections, at the same moment */
	assert_true(event_wait(&many.tried, many.nclients));
	pthread_mutex_lock(&waits.lock);
	assert_int_equal(waits.too_long, 0);
	assert_in_range(waits.count, many.nclients, MOST_WAITS);
	check_waits_locked();
	check_attempts_locked();
	pthread_mutex_unlock(&waits.lock);

	server = probe_server(side, "127.0.0.1", port, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < many.nclients; i++)
		assert_int_equal(sttcp_client_wait_open(many.clients[i].client, DEADLINE_MS), 0);
	sttcp_set_log(NULL, NULL);

	int gone_s = (int)(now_ms() - atomic_load(&many.went_ms)) / 1000 + 1;

	for (int i = 0; i < many.nclients; i++) {
		struct one *one = &many.clients[i];

		sttcp_client_free(one->client);
		/* Once more for one that was quick enough to meet the server on its way out. */
		assert_in_range(one->opened, 2, 4);
		/* Each waits for a second at first, on average, and then for two. */
		assert_in_range(one->failed, 1, 20 + 4 * gone_s);
		failed += one->failed;
	}
	print_message("%ld attempts failed of %d clients in %d s\n", failed, many.nclients, gone_s);
	assert_in_range(failed, many.nclients, (2 + gone_s) * many.nclients);
	sttcp_server_free(server);
	peer_close(held);
	probe_free(side);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clients_come_back_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
