/* SPDX-License-Identifier: MIT */
/* Storms (G8): which connections leave the loop when handlers block one after the other. */
#include "support/support.h"

#include "base/clock.h"
#include "engine/loop.h"
#include "engine/worker.h"

enum {
	LONG_MS = 60 * 1000,
	SHORT_MS = 20,
	BLOCKED = 32,
	NAPS = 60,
	TRIES = 10
};

static atomic_int wanted_storm = STT_NO_STORM;
static atomic_int wanted_ms = LONG_MS;
static _Atomic(struct stt_loop *) the_loop;
static struct event blocked = EVENT_INIT;
static struct event go_on = EVENT_INIT;
static struct event napped = EVENT_INIT;

/* Where its handler runs: "loop" or "pool". With "storm" one begins; with "nap" and "block" it
 * blocks. */
static void tell_where(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct stt_loop *loop = stt_self->loop;

	(void)context;
	if (loop)
		atomic_store(&the_loop, loop);
	if (size == 5 && memcmp(data, "storm", 5) == 0)
		stt_loop_storm(atomic_load(&the_loop), (enum stt_storm)atomic_load(&wanted_storm),
			       stt_now_ms(), atomic_load(&wanted_ms));
	if (size == 3 && memcmp(data, "nap", 3) == 0)
		nap_ms(SHORT_MS);
	if (size == 5 && memcmp(data, "block", 5) == 0) {
		event_raise(&blocked);
		event_wait(&go_on, 1);
	}
	(void)!sttcp_conn_send(conn, loop ? "loop" : "pool", 4);
}

static void nap_at_the_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)reason;
	(void)context;
	nap_ms(3 * SHORT_MS);
	event_raise(&napped);
}

static sttcp_server *start(sttcp_disconnection_handler at_the_end)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	CHECK(server);
	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	CHECK(sttcp_server_on_receive(server, tell_where) == 0);
	CHECK(sttcp_server_on_disconnection(server, at_the_end) == 0);
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

static bool runs_on_the_loop(int peer, const char *what)
{
	char where[4];

	CHECK(peer >= 0 && peer_say(peer, what));
	CHECK(peer_recv(peer, where, sizeof(where)));
	return memcmp(where, "loop", sizeof(where)) == 0;
}

static int ask_in_the_pool(int peer, const char *what)
{
	CHECK(!runs_on_the_loop(peer, what));
	return peer;
}

/* It may have slept by chance, as while the kernel gave it memory, and then it counts as one that
 * blocks until it has been quick for some time. */
static int ask_on_the_loop(int peer)
{
	COMES(runs_on_the_loop(peer, "x"));
	return peer;
}

/* Each in a process of its own: the storm would last for the next case. */
static int newcomers_go_to_the_pool(void)
{
	int port = sttcp_server_port(start(NULL));
	int old = ask_on_the_loop(peer_connect(port));

	atomic_store(&wanted_storm, STT_STORM_OF_NEWCOMERS);
	runs_on_the_loop(old, "storm");

	int new = ask_in_the_pool(peer_connect(port), "x");

	ask_on_the_loop(old);
	ask_on_the_loop(new);
	/* One that blocks makes it last, for its kind: the other one is on the loop, at once,
	 * unless it has slept by chance. */
	int on_the_loop = 0;

	for (int tries = 0; tries < TRIES && on_the_loop <= NAPS / 3; tries++) {
		on_the_loop = 0;
		for (int i = 0; i < NAPS; i++) {
			ask_in_the_pool(peer_connect(port), "nap");
			on_the_loop += runs_on_the_loop(old, "x");
		}
	}
	CHECK(on_the_loop > NAPS / 3);
	return 0;
}

static int all_go_to_the_pool(void)
{
	int port = sttcp_server_port(start(NULL));
	int old = ask_on_the_loop(peer_connect(port));

	atomic_store(&wanted_storm, STT_WHOLE_STORM);
	runs_on_the_loop(old, "storm");

	int new = ask_in_the_pool(peer_connect(port), "x");

	ask_in_the_pool(old, "x");
	ask_in_the_pool(new, "x");
	/* One of newcomers takes nothing from it. */
	atomic_store(&wanted_storm, STT_STORM_OF_NEWCOMERS);
	ask_in_the_pool(old, "storm");
	ask_in_the_pool(old, "x");
	return 0;
}

/* In a storm of newcomers others block, too: not each of them needs a take-over of its own. 1 if
 * they had one, as where the machine does not let the monitor look in time. */
static int others_block_among_newcomers(void)
{
	sttcp_server *server = start(NULL);
	int port = sttcp_server_port(server);
	sttcp_stats stats;
	int peers[BLOCKED];

	for (int i = 0; i < BLOCKED; i++)
		peers[i] = ask_on_the_loop(peer_connect(port));
	atomic_store(&wanted_storm, STT_STORM_OF_NEWCOMERS);
	runs_on_the_loop(peers[0], "storm");
	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);

	int64_t before = stats.takeovers;

	for (int i = 0; i < BLOCKED; i++)
		CHECK(peer_say(peers[i], "block"));
	CHECK(event_wait(&blocked, BLOCKED));
	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	event_raise(&go_on);
	return stats.takeovers - before > BLOCKED / 2;
}

/* In a whole storm one that is no newcomer blocks, in its last handler: it is followed by a whole
 * one. 1 if nobody has seen that. */
static int others_keep_it_whole(void)
{
	int port = sttcp_server_port(start(nap_at_the_end));
	int old = ask_on_the_loop(peer_connect(port));
	int leaves = ask_on_the_loop(peer_connect(port));

	atomic_store(&wanted_storm, STT_WHOLE_STORM);
	atomic_store(&wanted_ms, SHORT_MS);
	runs_on_the_loop(old, "storm");
	peer_close(leaves);
	CHECK(event_wait(&napped, 1));
	for (int64_t until = now_ms() + SHORT_MS; now_ms() < until; nap_ms(1))
		if (stt_loop_storm_at(atomic_load(&the_loop), stt_now_ms()) == STT_WHOLE_STORM)
			return 0;
	return 1;
}

static const struct child children[] = {
	{"newcomers_go_to_the_pool", newcomers_go_to_the_pool},
	{"all_go_to_the_pool", all_go_to_the_pool},
	{"others_block_among_newcomers", others_block_among_newcomers},
	{"others_keep_it_whole", others_keep_it_whole},
	{NULL, NULL},
};

/* G8: a client whose handler has been quick keeps its loop beside those who come, block and leave.
 */
static void storm_of_newcomers_spares_the_others(void **state)
{
	(void)state;
	assert_int_equal(process_run("newcomers_go_to_the_pool"), 0);
}

static void whole_storm_spares_nobody(void **state)
{
	(void)state;
	assert_int_equal(process_run("all_go_to_the_pool"), 0);
}

static int run_until_it_holds(const char *name)
{
	int result = 1;

	for (int i = 0; i < TRIES && result == 1; i++)
		result = process_run(name);
	return result;
}

static void others_that_block_make_it_whole(void **state)
{
	(void)state;
	assert_int_equal(run_until_it_holds("others_block_among_newcomers"), 0);
	assert_int_equal(run_until_it_holds("others_keep_it_whole"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(storm_of_newcomers_spares_the_others),
		cmocka_unit_test(whole_storm_spares_nobody),
		cmocka_unit_test(others_that_block_make_it_whole),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
