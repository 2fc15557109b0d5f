/* SPDX-License-Identifier: MIT */
/* Clients that connect again, under everything that may come at the same time: a server that comes
 * and goes, closes, starts, frees, waits, sends, and handlers that wait for other clients. */
#include "support/support.h"

enum {
	CLIENTS = 6,
	ROUNDS = UNDER_TSAN ? 500 : 2000,
	HELPERS = 2
};

/* Its owner makes, starts, closes and frees it; helpers use it meanwhile, and not after its free.
 */
struct one {
	struct probe *probe;
	pthread_rwlock_t alive;
	atomic_bool leaves; /* readers would keep its writer out for ever */
	sttcp_client *client;
	pthread_t owner, helpers[HELPERS];
	uint32_t random; /* the owner's */
	uint32_t seeds[HELPERS];
	_Atomic uint32_t salt; /* of its handlers */
};

static struct one all[CLIENTS];
static int port;
static atomic_bool over;
static atomic_long opens, sends, waits;

/* Any thread. */
static uint32_t any_number(struct one *one)
{
	uint32_t state = atomic_fetch_add(&one->salt, 0x9e3779b9) | 1;

	return next_random(&state) >> 8;
}

static bool end_somehow(struct one *one, sttcp_conn *conn)
{
	switch (any_number(one) % 16) {
	case 0:
		return false;
	case 1:
		sttcp_conn_close(conn);
		break;
	case 2:
		sttcp_conn_abort(conn);
		break;
	case 3:
		sttcp_conn_fail(conn, -EIO, "enough");
		break;
	case 4:
		sttcp_client_close(sttcp_conn_client(conn));
		break;
	default:
		break;
	}
	return true;
}

static bool begin(struct probe *probe, sttcp_conn *conn)
{
	struct one *one = probe->extra;
	struct one *other = &all[any_number(one) % CLIENTS];

	atomic_fetch_add(&opens, 1);
	if (sttcp_client_wait_open(sttcp_conn_client(conn), -1) != -EDEADLK)
		probe_violate(probe, "an own handler has waited");
	/* Not for ever: the other one may be waiting for this one. */
	if (other != one && pthread_rwlock_tryrdlock(&other->alive) == 0) {
		if (other->client)
			sttcp_client_wait_open(other->client, 1);
		pthread_rwlock_unlock(&other->alive);
	}
	return end_somehow(one, conn);
}

static bool answer(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	return end_somehow(probe->extra, conn);
}

static void end(struct probe *probe, sttcp_conn *conn, int reason)
{
	uint32_t number = any_number(probe->extra) % 8;
	sttcp_client *client = sttcp_conn_client(conn);

	(void)reason;
	/* NULL once its free has taken effect. */
	if (number == 0 && client)
		ignore(sttcp_client_start(client));
	if (number == 1 && client)
		sttcp_client_close(client);
}

static void make(struct one *one)
{
	bool endless = next_random(&one->random) % 2;

	one->client = probe_client(one->probe, "127.0.0.1", port,
				   STTCP_OPTIONS(.reconnect_ms = 1, .reconnect_max_ms = 4,
						 .reconnect_tries = endless ? -1 : 3));
}

static void remake(struct one *one)
{
	atomic_store(&one->leaves, true);
	sttcp_client_close(one->client); /* which lets the helpers go */
	pthread_rwlock_wrlock(&one->alive);
	sttcp_client_free(one->client);
	make(one);
	atomic_store(&one->leaves, false);
	pthread_rwlock_unlock(&one->alive);
}

static void *own(void *argument)
{
	struct one *one = argument;

	for (int i = 0; i < ROUNDS; i++) {
		uint32_t number = next_random(&one->random) >> 8;

		switch (number % 8) {
		case 0:
			remake(one);
			break;
		case 1:
		case 2:
			sttcp_client_close(one->client);
			break;
		case 3:
			nap_ms((int)(number >> 8) % 4);
			break;
		case 4:
			ignore(sttcp_client_wait(one->client, (int)(number >> 8) % 4));
			break;
		default:
			ignore(sttcp_client_start(one->client));
			break;
		}
	}
	sttcp_client_close(one->client);
	return NULL;
}

static void use(struct one *one, uint32_t number)
{
	int timeout_ms = (int)(number >> 8) % 8;
	sttcp_conn *conn;

	switch (number % 4) {
	case 0:
		if (sttcp_client_wait_open(one->client, timeout_ms) == 0)
			atomic_fetch_add(&waits, 1);
		break;
	case 1:
	case 2:
		if (sttcp_client_send(one->client, "meow", 4, timeout_ms) == 0)
			atomic_fetch_add(&sends, 1);
		break;
	default:
		conn = sttcp_client_conn(one->client);
		if (conn) {
			end_somehow(one, conn);
			sttcp_conn_unref(conn);
		}
		break;
	}
}

struct helper {
	struct one *one;
	uint32_t random;
};

static void *help(void *argument)
{
	struct helper *helper = argument;

	while (!atomic_load(&over)) {
		if (atomic_load(&helper->one->leaves)) {
			nap_ms(1);
			continue;
		}
		pthread_rwlock_rdlock(&helper->one->alive);
		use(helper->one, next_random(&helper->random) >> 8);
		pthread_rwlock_unlock(&helper->one->alive);
	}
	return NULL;
}

/* Comes and goes until the others are through. */
static void *flap(void *argument)
{
	struct probe *probe = argument;
	uint32_t random = 7;

	while (!atomic_load(&over)) {
		sttcp_server *server = probe_server(probe, "127.0.0.1", port, NULL);

		if (sttcp_server_start(server) == 0)
			nap_ms((int)(next_random(&random) % 8));
		ignore(sttcp_server_stop_within(server, 0, NULL));
		sttcp_server_free(server);
		nap_ms((int)(next_random(&random) % 3));
	}
	return NULL;
}

static void everything_at_once_ends_in_order(void **state)
{
	static struct helper helpers[CLIENTS][HELPERS];
	uint32_t seed = test_seed();
	struct probe *side = probe_new();
	int held = peer_refuse(&port);
	pthread_t server;

	(void)state;
	side->data = echo_data;
	for (int i = 0; i < CLIENTS; i++) {
		struct one *one = &all[i];

		one->random = seed + (uint32_t)i;
		atomic_init(&one->salt, seed * 31 + (uint32_t)i);
		one->probe = probe_new();
		one->probe->extra = one;
		one->probe->connection = begin;
		one->probe->data = answer;
		one->probe->ended = end;
		pthread_rwlock_init(&one->alive, NULL);
		make(one);
	}
	assert_int_equal(pthread_create(&server, NULL, flap, side), 0);
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(pthread_create(&all[i].owner, NULL, own, &all[i]), 0);
		for (int j = 0; j < HELPERS; j++) {
			helpers[i][j] = (struct helper){&all[i], seed ^ (uint32_t)(i * 64 + j)};
			assert_int_equal(
				pthread_create(&all[i].helpers[j], NULL, help, &helpers[i][j]), 0);
		}
	}
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_join(all[i].owner, NULL), 0);
	atomic_store(&over, true);
	for (int i = 0; i < CLIENTS; i++)
		for (int j = 0; j < HELPERS; j++)
			assert_int_equal(pthread_join(all[i].helpers[j], NULL), 0);
	assert_int_equal(pthread_join(server, NULL), 0);
	peer_close(held);
	for (int i = 0; i < CLIENTS; i++) {
		sttcp_client_free(all[i].client);
		pthread_rwlock_destroy(&all[i].alive);
		assert_true(all[i].probe->releases > 0);
		probe_free(all[i].probe);
	}
	print_message("%ld connections, %ld sends, %ld waits\n", atomic_load(&opens),
		      atomic_load(&sends), atomic_load(&waits));
	probe_free(side);
	/* Nothing is left that keeps the engine. */
	int result = -EBUSY;
	EVENTUALLY((result = sttcp_engine_shutdown()) != -EBUSY);
	assert_int_equal(result, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_at_once_ends_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
