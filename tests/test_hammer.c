/* SPDX-License-Identifier: MIT */
/*
 * A randomised hammer: threads connect, send, close, abort, fail, stop, restart and free servers
 * and clients at random, and every handler call is checked: connection first, disconnection
 * exactly once and last, no overlap, no data after the end, no handler after free has returned,
 * release exactly once (G2, G3, G4, G5, G9, G12).
 *
 * STTCP_HAMMER_SECONDS says for how long (3), STTCP_HAMMER_SEED repeats a run.
 */
#include "support/support.h"

#include <sched.h>
#include <sys/socket.h>

enum {
	HAMMERS = 4,
	CLIENTS = 6
};

/* One server or client under the hammer; freed, and made anew, by one thread alone. The counters
 * belong to one life of it. */
struct target {
	atomic_long opened;
	atomic_long ended;
	atomic_long unconnected;
	atomic_long releases;
	atomic_bool freed; /* free has returned: no handler may come any more */
	bool fibers;
};

/* What a connection carries. */
struct record {
	struct target *target;
	atomic_int inside;
	bool opened; /* these only in handlers, which never overlap */
	bool ended;
	bool declined;
	bool unsure; /* whether it is declined */
	uint32_t random;
};

static atomic_long records_made;
static atomic_long records_freed;
static atomic_int violations;
static atomic_long calls;
static uint32_t seed;

static void violate(const char *what)
{
	if (atomic_fetch_add(&violations, 1) < 20)
		fprintf(stderr, "violated: %s\n", what);
}

static void free_record(void *data)
{
	atomic_fetch_add(&records_freed, 1);
	free(data);
}

static struct record *record_of(sttcp_conn *conn, struct target *target)
{
	struct record *record = sttcp_conn_data(conn);

	if (record)
		return record;
	record = calloc(1, sizeof(*record));
	if (!record)
		abort();
	record->target = target;
	record->random = (uint32_t)sttcp_conn_id(conn) * 2654435761u ^ seed;
	atomic_fetch_add(&records_made, 1);
	sttcp_conn_set_data(conn, record, free_record);
	return record;
}

static struct record *enter(sttcp_conn *conn, struct target *target)
{
	struct record *record = record_of(conn, target);

	atomic_fetch_add(&calls, 1);
	if (atomic_load(&target->freed))
		violate("a handler after free");
	if (atomic_load(&target->releases) != 0)
		violate("a handler after release");
	if (record->target != target)
		violate("the wrong context");
	if (atomic_exchange(&record->inside, 1) != 0)
		violate("two handlers of one connection at once");
	if (record->ended)
		violate("a handler after the last");
	return record;
}

static void leave(struct record *record)
{
	atomic_store(&record->inside, 0);
}

enum {
	DID_CLOSE = 0,
	DID_ABORT = 1,
	DID_FAIL = 2
};

/* Something that may happen at any time, in a handler or outside. Tells what it was. */
static uint32_t do_something(sttcp_conn *conn, uint32_t *random)
{
	static char data[100000];
	sttcp_server *server = sttcp_conn_server(conn);
	sttcp_conn_counts counts;
	char own[256];

	uint32_t choice = next_random(random) % 24;

	switch (choice) {
	case DID_CLOSE:
		sttcp_conn_close(conn);
		break;
	case DID_ABORT:
		sttcp_conn_abort(conn);
		break;
	case DID_FAIL:
		sttcp_conn_fail(conn, -EBADMSG, "number %u", (unsigned)next_random(random));
		break;
	case 3:
		sttcp_conn_shutdown(conn);
		break;
	case 4:
		nap_ms((int)(next_random(random) % 4));
		break;
	case 5:
		sched_yield();
		break;
	case 6:
		ignore(sttcp_conn_try_send(conn, data, next_random(random) % sizeof(data)));
		break;
	case 7:
		if (server)
			sttcp_server_broadcast_except(server, conn, data,
						      next_random(random) % 3000);
		break;
	case 8:
		sttcp_conn_stats(conn, &counts, sizeof(counts));
		sttcp_conn_flush(conn);
		break;
	case 9:
		sttcp_conn_unref(sttcp_conn_ref(conn));
		break;
	case 10:
		if (server && next_random(random) % 8 == 0)
			sttcp_server_stop_within(server, 0, NULL);
		break;
	case 11:
		if (sttcp_conn_client(conn))
			sttcp_client_close(sttcp_conn_client(conn));
		break;
	case 12:
		ignore(sttcp_sleep((int)(next_random(random) % 4)));
		break;
	case 13:
		/* Elsewhere than in a handler of its own it is refused. */
		ignore(sttcp_conn_recv(conn, own, sizeof(own), (int)(next_random(random) % 4)));
		break;
	case 14:
		ignore(sttcp_poll(sttcp_conn_fd(conn), 1 /* POLLIN */,
				  (int)(next_random(random) % 4)));
		break;
	default:
		sttcp_conn_send(conn, data, next_random(random) % 2000);
		break;
	}
	return choice;
}

static bool on_open(sttcp_conn *conn, void *context)
{
	struct target *target = context;
	struct record *record = enter(conn, target);

	if (record->opened)
		violate("two connection handlers");
	record->opened = true;
	bool accept = next_random(&record->random) % 10 != 0;
	uint32_t choice = UINT32_MAX;
	if (next_random(&record->random) % 4 == 0)
		choice = do_something(conn, &record->random);
	if (choice == DID_FAIL)
		accept = true; /* who fails wants the disconnection handler */
	bool closed = choice == DID_CLOSE || choice == DID_ABORT;
	if (sttcp_conn_client(conn) || (accept && !closed))
		atomic_fetch_add(&target->opened, 1);
	else if (accept && sttcp_conn_reason(conn) != STTCP_ECLOSED)
		record->unsure = true; /* it had ended in another way before */
	else
		record->declined = true;
	leave(record);
	return accept;
}

static void on_data(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct record *record = enter(conn, context);

	if (!record->opened)
		violate("data before the connection handler");
	if (record->declined)
		violate("data after it was declined");
	if (!data || size == 0)
		violate("data without data");
	do_something(conn, &record->random);
	leave(record);
}

static bool on_response(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	on_data(conn, data, size, context);
	struct record *record = sttcp_conn_data(conn);

	return next_random(&record->random) % 30 != 0;
}

static void on_last(sttcp_conn *conn, int reason, void *context)
{
	struct target *target = context;
	struct record *record = enter(conn, target);

	if (!record->opened)
		violate("a disconnection without a connection");
	if (record->declined)
		violate("a disconnection of a declined connection");
	if (reason != sttcp_conn_reason(conn))
		violate("two reasons");
	if (sttcp_conn_is_open(conn) || sttcp_conn_send(conn, "x", 1) >= 0)
		violate("open at its end");
	record->ended = true;
	if (!record->unsure)
		atomic_fetch_add(&target->ended, 1);
	if (sttcp_conn_client(conn) && next_random(&record->random) % 3 == 0)
		ignore(sttcp_client_start(sttcp_conn_client(conn)));
	leave(record);
}

static void on_unconnected(sttcp_conn *conn, int reason, void *context)
{
	struct target *target = context;
	struct record *record = enter(conn, target);

	if (record->opened)
		violate("unconnected after connection");
	if (reason >= 0 || sttcp_conn_is_open(conn))
		violate("unconnected without a reason");
	record->ended = true;
	atomic_fetch_add(&target->unconnected, 1);
	leave(record);
}

static void on_release(void *context)
{
	struct target *target = context;

	if (atomic_fetch_add(&target->releases, 1) != 0)
		violate("two releases");
	if (atomic_load(&target->freed))
		violate("released after free had returned");
}

/* After free: what was opened has ended, nothing runs, and it was released. The target itself goes
 * at the end of the test, so that a late handler is told, not a crash. */
static void judge_freed(struct target *target)
{
	atomic_store(&target->freed, true);
	if (atomic_load(&target->releases) != 1)
		violate("not released by free");
	if (atomic_load(&target->opened) != atomic_load(&target->ended))
		violate("not every connection was disconnected once");
}

/* ------------------------------------------------------------------- hammers */

struct hammer {
	pthread_t thread;
	uint32_t random;
	int64_t until;
	struct target *targets; /* all that it made */
	size_t ntargets;
	long rounds;
};

enum {
	MOST_TARGETS = 200000
};

static struct target *new_target(struct hammer *hammer)
{
	/* Never moved: handlers hold pointers. One block for all is reserved, pages come as used.
	 */
	if (!hammer->targets)
		hammer->targets = calloc(MOST_TARGETS, sizeof(struct target));
	if (!hammer->targets || hammer->ntargets == MOST_TARGETS)
		return NULL;
	hammer->targets[hammer->ntargets].fibers = next_random(&hammer->random) % 2 == 0;
	return &hammer->targets[hammer->ntargets++];
}

static sttcp_server *new_server(struct target *target, uint32_t *random)
{
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", 0,
		STTCP_OPTIONS(.send_queue_max = 128 * 1024, .write_timeout_ms = 200,
			      .half_close = next_random(random) % 4 == 0,
			      .fibers = next_random(random) % 2 == 0));

	if (sttcp_server_set_context(server, target) < 0 ||
	    sttcp_server_on_connection(server, on_open) < 0 ||
	    sttcp_server_on_receive(server, on_data) < 0 ||
	    sttcp_server_on_disconnection(server, on_last) < 0 ||
	    sttcp_server_on_release(server, on_release) < 0)
		violate("a handler is refused");
	return server;
}

static sttcp_client *new_client(struct target *target, int port)
{
	sttcp_client *client = sttcp_client_new(
		"127.0.0.1", port,
		STTCP_OPTIONS(.send_queue_max = 128 * 1024, .write_timeout_ms = 200,
			      .drain_timeout_ms = 100, .connect_timeout_ms = 2000,
			      .fibers = target->fibers));

	if (sttcp_client_set_context(client, target) < 0 ||
	    sttcp_client_on_connection(client, on_open) < 0 ||
	    sttcp_client_on_response(client, on_response) < 0 ||
	    sttcp_client_on_disconnection(client, on_last) < 0 ||
	    sttcp_client_on_unconnected(client, on_unconnected) < 0 ||
	    sttcp_client_on_release(client, on_release) < 0)
		violate("a handler is refused");
	return client;
}

static void bother(sttcp_conn *conn, void *argument)
{
	do_something(conn, argument);
}

static void play_raw_peer(int port, uint32_t *random)
{
	static const char data[50000] = {1};
	int fd = peer_connect(port);

	if (fd < 0)
		return;
	for (uint32_t i = next_random(random) % 4; i > 0; i--)
		send(fd, data, next_random(random) % sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT);
	switch (next_random(random) % 3) {
	case 0:
		peer_reset(fd);
		return;
	case 1:
		peer_shutdown(fd);
		break;
	default:
		break;
	}
	peer_close(fd);
}

/* One step on a server and its clients. */
static void hammer_step(sttcp_server *server, sttcp_client **clients, uint32_t *random)
{
	sttcp_client *client = clients[next_random(random) % CLIENTS];
	sttcp_conn *conn;
	sttcp_stats stats;

	switch (next_random(random) % 16) {
	case 0:
		sttcp_server_stop_within(server, (int)(next_random(random) % 30), NULL);
		break;
	case 1:
		ignore(sttcp_server_start(server));
		break;
	case 2:
		sttcp_client_close(client);
		break;
	case 3:
	case 4:
	case 5:
		ignore(sttcp_client_start(client));
		break;
	case 6:
	case 7:
		conn = sttcp_client_conn(client);
		if (conn)
			do_something(conn, random);
		sttcp_conn_unref(conn);
		break;
	case 8:
		sttcp_server_each(server, bother, random);
		break;
	case 9:
		sttcp_server_broadcast(server, "to all of you", 13);
		break;
	case 10:
		sttcp_server_stats(server, &stats, sizeof(stats));
		break;
	case 11:
		sttcp_client_wait(client, (int)(next_random(random) % 3));
		break;
	default:
		play_raw_peer(sttcp_server_port(server), random);
		break;
	}
}

static void *run_hammer(void *argument)
{
	struct hammer *hammer = argument;
	uint32_t *random = &hammer->random;

	while (now_ms() < hammer->until) {
		struct target *serving = new_target(hammer);
		struct target *calling[CLIENTS];
		sttcp_client *clients[CLIENTS];

		if (!serving)
			break;
		sttcp_server *server = new_server(serving, random);
		if (sttcp_server_start(server) != 0)
			violate("a start that fails");
		int port = sttcp_server_port(server);
		for (int i = 0; i < CLIENTS; i++) {
			calling[i] = new_target(hammer);
			if (!calling[i])
				abort();
			clients[i] = new_client(calling[i], port);
			ignore(sttcp_client_start(clients[i]));
		}
		for (uint32_t steps = next_random(random) % 120; steps > 0; steps--)
			hammer_step(server, clients, random);
		bool server_first = next_random(random) % 2 == 0;
		if (server_first) {
			sttcp_server_free(server);
			judge_freed(serving);
		}
		for (int i = 0; i < CLIENTS; i++) {
			sttcp_client_free(clients[i]);
			judge_freed(calling[i]);
		}
		if (!server_first) {
			sttcp_server_free(server);
			judge_freed(serving);
		}
		hammer->rounds++;
	}
	return NULL;
}

static long env_number(const char *name, long fallback)
{
	const char *text = getenv(name);

	return text && *text != '\0' ? strtol(text, NULL, 10) : fallback;
}

static void everything_at_random_keeps_the_contract(void **state)
{
	struct hammer hammers[HAMMERS];
	long rounds = 0;

	(void)state;
	seed = (uint32_t)env_number("STTCP_HAMMER_SEED", (long)(now_ms() ^ (int64_t)getpid()));
	print_message("STTCP_HAMMER_SEED=%u\n", (unsigned)seed);
	sttcp_server *warm = sttcp_server_new("127.0.0.1", 0, NULL);
	assert_int_equal(sttcp_server_start(warm), 0);
	sttcp_server_free(warm);
	int fds = count_fds();
	memset(hammers, 0, sizeof(hammers));
	for (uint32_t i = 0; i < HAMMERS; i++) {
		hammers[i].random = seed + i * 7919 + 1;
		hammers[i].until = now_ms() + env_number("STTCP_HAMMER_SECONDS", 3) * 1000;
		assert_int_equal(pthread_create(&hammers[i].thread, NULL, run_hammer, &hammers[i]),
				 0);
	}
	for (int i = 0; i < HAMMERS; i++) {
		pthread_join(hammers[i].thread, NULL);
		rounds += hammers[i].rounds;
	}
	print_message("%ld rounds, %ld handler calls\n", rounds, atomic_load(&calls));
	assert_true(rounds > 0);
	assert_true(atomic_load(&calls) > 0);
	/* Connections whose rest is dropped in the background may take their 2 s. */
	EVENTUALLY(atomic_load(&records_freed) == atomic_load(&records_made));
	/* Each loop has one more once sttcp_poll was called with fibers; and so have its two
	 * threads once they have waited in a handler. */
	EVENTUALLY(count_fds() <= fds + 3 * (int)sysconf(_SC_NPROCESSORS_ONLN));
	assert_int_equal(atomic_load(&violations), 0);
	for (int i = 0; i < HAMMERS; i++)
		free(hammers[i].targets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_at_random_keeps_the_contract),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
