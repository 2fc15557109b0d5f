/* SPDX-License-Identifier: MIT */
/* G9 and G12: stop, close, free, wait and keep_alive from inside handlers, of the handler's own
 * object and of others: they return at once, and complete later. */
#include "support/support.h"

/* Where the call is made, and what it is. */
enum place {
	AT_OPEN,
	AT_DATA,
	AT_END,
	PLACES
};
enum call {
	STOP,
	CLOSE,
	STOP_WITHIN,
	FREE,
	WAIT,
	KEEP_ALIVE,
	KEEP_ALIVE_ALL,
	CALLS
};

static const char *const call_names[] = {"stop", "close",      "stop_within",	"free",
					 "wait", "keep_alive", "keep_alive_all"};

struct scene {
	enum place place;
	enum call call;
	bool on_client; /* the object that the call is made on is a client */
	bool own;
	sttcp_server *server;
	sttcp_client *client;
	struct event called;
	atomic_int result;
	atomic_long took_ms;
};

static void scene_init(struct scene *scene, enum place place, enum call call)
{
	struct event fresh = EVENT_INIT;

	memset(scene, 0, sizeof(*scene));
	scene->place = place;
	scene->call = call;
	scene->called = fresh;
	atomic_init(&scene->result, 1);
	atomic_init(&scene->took_ms, 0);
}

static int call_server(enum call call, sttcp_server *server)
{
	sttcp_stop_report report;

	switch (call) {
	case STOP:
		return sttcp_server_stop(server);
	case CLOSE:
		return sttcp_server_close(server);
	case STOP_WITHIN:
		return sttcp_server_stop_within(server, -1, &report);
	case FREE:
		sttcp_server_free(server);
		return 0;
	case WAIT:
		return sttcp_server_wait(server, -1);
	case KEEP_ALIVE:
		return sttcp_server_keep_alive(server);
	default:
		return sttcp_keep_alive();
	}
}

static int call_client(enum call call, sttcp_client *client)
{
	switch (call) {
	case STOP:
		return sttcp_client_stop(client);
	case CLOSE:
	case STOP_WITHIN:
		return sttcp_client_close(client);
	case FREE:
		sttcp_client_free(client);
		return 0;
	case WAIT:
		return sttcp_client_wait(client, -1);
	case KEEP_ALIVE:
		return sttcp_client_keep_alive(client);
	default:
		return sttcp_keep_alive();
	}
}

static void make_the_call(struct scene *scene, enum place place, sttcp_conn *conn)
{
	if (scene->place != place || event_count(&scene->called) > 0)
		return;
	int64_t begin = now_ms();
	int result = 1;
	if (scene->on_client)
		result = call_client(scene->call,
				     scene->own ? sttcp_conn_client(conn) : scene->client);
	else
		result = call_server(scene->call,
				     scene->own ? sttcp_conn_server(conn) : scene->server);
	atomic_store(&scene->result, result);
	atomic_store(&scene->took_ms, (long)(now_ms() - begin));
	/* The handle is good until the handler returns, whatever was called. */
	(void)sttcp_conn_address(conn);
	(void)sttcp_conn_send(conn, "after", 5);
	event_raise(&scene->called);
}

static bool call_at_open(struct probe *probe, sttcp_conn *conn)
{
	make_the_call(probe->extra, AT_OPEN, conn);
	return true;
}

static bool call_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	make_the_call(probe->extra, AT_DATA, conn);
	return true;
}

static void call_at_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)reason;
	make_the_call(probe->extra, AT_END, conn);
}

static struct probe *scene_probe(struct scene *scene)
{
	struct probe *probe = probe_new();

	probe->extra = scene;
	probe->connection = call_at_open;
	probe->data = call_at_data;
	probe->ended = call_at_end;
	return probe;
}

static void judge(struct scene *scene)
{
	bool waits = scene->call >= WAIT;
	int expected = waits ? -EDEADLK : 0;

	if (!event_wait(&scene->called, 1))
		fail_msg("%s at place %d did not return", call_names[scene->call], scene->place);
	assert_int_equal(atomic_load(&scene->result), expected);
	assert_true(atomic_load(&scene->took_ms) < DEADLINE_MS / 2);
}

/* From inside a server's handler, on itself. */
static void own_server_from_inside_returns_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < PLACES * CALLS; i++) {
		struct scene scene;

		scene_init(&scene, (enum place)(i % PLACES), (enum call)(i / PLACES));
		scene.own = true;
		struct probe *probe = scene_probe(&scene);
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "x"));
		if (scene.place == AT_END)
			peer_shutdown(peer);
		judge(&scene);
		if (scene.call == FREE) {
			/* Takes effect when the handler returns. */
			EVENTUALLY(probe_is_released(probe));
			assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
			peer_close(peer);
			probe_free(probe);
			continue;
		}
		peer_close(peer);
		if (scene.call < FREE) {
			assert_int_equal(sttcp_server_wait(server, DEADLINE_MS), 0);
			assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
			assert_int_equal(sttcp_server_start(server), 0); /* and again */
		}
		sttcp_server_free(server);
		assert_int_equal(probe->releases, 1);
		probe_free(probe);
	}
}

/* From inside a client's handler, on itself: at open, on a response, at the end. */
static void own_client_from_inside_returns_at_once(void **state)
{
	int port;
	int listener = peer_listen(&port, 64);

	(void)state;
	for (int i = 0; i < PLACES * CALLS; i++) {
		struct scene scene;

		scene_init(&scene, (enum place)(i % PLACES), (enum call)(i / PLACES));
		scene.own = true;
		scene.on_client = true;
		struct probe *probe = scene_probe(&scene);
		sttcp_client *client = probe_dial(probe, port, NULL);
		int peer = peer_accept(listener);
		assert_true(peer_say(peer, "x"));
		if (scene.place == AT_END)
			peer_shutdown(peer);
		judge(&scene);
		if (scene.call == FREE) {
			EVENTUALLY(probe_is_released(probe));
			assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
			peer_close(peer);
			probe_free(probe);
			continue;
		}
		if (scene.call < FREE && scene.place != AT_END) {
			assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_EDESTROYED);
			assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
		}
		peer_close(peer);
		sttcp_client_free(client);
		assert_int_equal(probe->releases, 1);
		assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
		probe_free(probe);
	}
	peer_close(listener);
}

/* From inside the unconnected handler. */
static void own_client_from_its_unconnected_handler_returns_at_once(void **state)
{
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	for (int i = 0; i < CALLS; i++) {
		struct scene scene;

		scene_init(&scene, AT_END, (enum call)i);
		scene.own = true;
		scene.on_client = true;
		struct probe *probe = scene_probe(&scene);
		sttcp_client *client = probe_dial(probe, port, NULL);
		judge(&scene);
		if (scene.call == FREE) {
			EVENTUALLY(probe_is_released(probe));
		} else {
			assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
			sttcp_client_free(client);
		}
		assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 1);
		probe_free(probe);
	}
	peer_close(refusing);
}

/* From inside a server's handler, on another server that has a connection of its own, and on a
 * client: "inside any handler of any object they return at once". */
static void other_objects_from_inside_return_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * PLACES * CALLS; i++) {
		enum call call = (enum call)(i / 2 / PLACES);

		/* For the end of another client a handler may wait: test_client_open.c. */
		if (i % 2 == 1 && (call == WAIT || call == KEEP_ALIVE))
			continue;

		struct scene scene;
		struct probe *other = probe_new();
		int port;
		int listener = peer_listen(&port, 4);

		scene_init(&scene, (enum place)(i / 2 % PLACES), call);
		scene.on_client = i % 2 == 1;
		struct probe *probe = scene_probe(&scene);
		int held = -1;
		if (scene.on_client) {
			scene.client = probe_dial(other, port, NULL);
		} else {
			scene.server = probe_listen(other, NULL);
			held = peer_connect(sttcp_server_port(scene.server));
		}
		assert_true(probe_wait(other, STTCP_CONNECTION, 1));
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "x"));
		if (scene.place == AT_END)
			peer_shutdown(peer);
		judge(&scene);
		peer_close(peer);
		peer_close(held);
		if (scene.call == FREE) {
			EVENTUALLY(probe_is_released(other));
		} else if (scene.on_client) {
			if (scene.call < FREE)
				assert_int_equal(sttcp_client_wait(scene.client, DEADLINE_MS),
						 STTCP_EDESTROYED);
			sttcp_client_free(scene.client);
		} else {
			if (scene.call < FREE)
				assert_int_equal(sttcp_server_wait(scene.server, DEADLINE_MS), 0);
			sttcp_server_free(scene.server);
		}
		assert_int_equal(probe_count(other, STTCP_DISCONNECTION), 1);
		sttcp_server_free(server);
		peer_close(listener);
		probe_free(probe);
		probe_free(other);
	}
}

/* ------------------------------------------------------------ two that cross */

static struct event crossing = EVENT_INIT;
static long crossing_goal;

static bool free_the_other(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	event_raise(&crossing);
	event_wait(&crossing, crossing_goal);
	sttcp_server_free(probe->extra);
	return true;
}

/* Two handlers free each other's servers at the same time: nothing hangs. */
static void servers_that_free_each_other(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		struct probe *probes[2] = {probe_new(), probe_new()};
		sttcp_server *servers[2];
		int peers[2];

		crossing_goal = 2 * (round + 1);
		for (int i = 0; i < 2; i++) {
			probes[i]->data = free_the_other;
			servers[i] = probe_server(probes[i], "127.0.0.1", 0, NULL);
		}
		for (int i = 0; i < 2; i++) {
			probes[i]->extra = servers[1 - i];
			assert_int_equal(sttcp_server_start(servers[i]), 0);
			peers[i] = peer_connect(sttcp_server_port(servers[i]));
		}
		for (int i = 0; i < 2; i++)
			assert_true(peer_say(peers[i], "x"));
		for (int i = 0; i < 2; i++) {
			EVENTUALLY(probe_is_released(probes[i]));
			assert_int_equal(probe_count(probes[i], STTCP_DISCONNECTION), 1);
			peer_close(peers[i]);
		}
		for (int i = 0; i < 2; i++)
			probe_free(probes[i]);
	}
}

static bool nap_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	event_raise(probe->extra);
	nap_ms(20);
	return echo_data(probe, conn, data, size);
}

/* G12: free returns when none of its handlers runs or ever will (the release handler and the probe
 * tell), though handlers are blocked when it is called. */
static void free_waits_for_running_handlers(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		struct probe *probe = probe_new();
		struct event inside = EVENT_INIT;
		int peers[8];

		probe->data = nap_at_data;
		probe->extra = &inside;
		sttcp_server *server = probe_listen(probe, NULL);
		for (int i = 0; i < 8; i++) {
			peers[i] = peer_connect(sttcp_server_port(server));
			assert_true(peer_say(peers[i], "x"));
		}
		assert_true(event_wait(&inside, 1 + round % 8));
		sttcp_server_free(server);
		assert_int_equal(probe->releases, 1);
		assert_int_equal(probe_count(probe, STTCP_CONNECTION),
				 probe_count(probe, STTCP_DISCONNECTION));
		for (int i = 0; i < 8; i++)
			peer_close(peers[i]);
		probe_free(probe); /* the context goes: sanitizers see who comes late */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_server_from_inside_returns_at_once),
		cmocka_unit_test(own_client_from_inside_returns_at_once),
		cmocka_unit_test(own_client_from_its_unconnected_handler_returns_at_once),
		cmocka_unit_test(other_objects_from_inside_return_at_once),
		cmocka_unit_test(servers_that_free_each_other),
		cmocka_unit_test(free_waits_for_running_handlers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
