/* SPDX-License-Identifier: MIT */
/* What may happen between two steps of the engine (G1, G2, G18): this program's own epoll_ctl, in
 * front of the C library's, stands for a thread that is interrupted there. */
#include "support/faults.h"
#include "support/support.h"

#include <sys/epoll.h>
#include <sys/socket.h>

/* Called for every descriptor that is about to be registered, or has just been. */
static _Atomic(void (*)(int fd)) before_add;
static _Atomic(void (*)(int fd)) after_add;

static int interrupted_ctl(int poller, int op, int fd, struct epoll_event *event)
{
	void (*before)(int) = op == EPOLL_CTL_ADD ? atomic_load(&before_add) : NULL;
	void (*after)(int) = op == EPOLL_CTL_ADD ? atomic_load(&after_add) : NULL;

	if (before)
		before(fd);
	int result = real_epoll_ctl(poller, op, fd, event);
	if (after)
		after(fd);
	return result;
}

static bool is_listener(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on != 0;
}

/* ---------------------------------------------------------------------- start */

static atomic_int early_peer;

static void connect_early(int fd)
{
	if (!is_listener(fd))
		return;
	atomic_store(&early_peer, peer_connect(peer_port(fd)));
	peer_quiet(atomic_load(&early_peer), 50); /* time to accept it */
}

/* Who connects while start is under way is served. */
static void peer_that_is_early_is_served(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	for (int i = 1; i <= 3; i++) {
		atomic_store(&early_peer, -1);
		atomic_store(&after_add, connect_early);
		sttcp_server *server = probe_listen(probe, NULL);
		atomic_store(&after_add, NULL);
		int peer = atomic_load(&early_peer);

		assert_true(peer >= 0);
		assert_true(peer_say(peer, "early"));
		assert_true(peer_expect(peer, "early"));
		assert_int_equal(probe_count(probe, STTCP_CONNECTION), i);
		peer_close(peer);
		sttcp_server_free(server);
	}
	probe_free(probe);
}

/* ------------------------------------------------------------------------ stop */

static atomic_int adding; /* the descriptor of a connection that is not registered yet */
static struct event in_add = EVENT_INIT;
static struct event go_on = EVENT_INIT;
static atomic_int strangers;

/* Not by a call that takes the descriptor: it may be closed any moment. */
static bool is_socket(int fd)
{
	char path[64];
	char what[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, what, sizeof(what) - 1) > 0 && strncmp(what, "socket:", 7) == 0;
}

static void hold_up(int fd)
{
	if (!is_socket(fd) || is_listener(fd))
		return;
	atomic_store(&adding, fd);
	event_raise(&in_add);
	/* A stop may have to wait for this call: then nothing is wrong, and it goes on. */
	event_wait(&go_on, event_count(&in_add));
	if (!is_socket(fd))
		atomic_fetch_add(&strangers, 1);
}

struct stopper {
	pthread_t thread;
	sttcp_server *server;
};

static void *run_stop(void *argument)
{
	struct stopper *stopper = argument;

	sttcp_server_stop_within(stopper->server, 0, NULL);
	return NULL;
}

/* A stop that closes a connection by force before the loop has registered it: the number of its
 * descriptor is somebody else's then. */
static void forced_stop_leaves_no_descriptor_to_register(void **state)
{
	enum {
		ROUNDS = 6,
		PIPES = 4
	};
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);
	int pipes[PIPES][2];

	(void)state;
	for (int round = 1; round <= ROUNDS; round++) {
		struct stopper stopper = {.server = server};
		int result = -1;

		EVENTUALLY((result = sttcp_server_start(server)) != -EBUSY);
		assert_int_equal(result, 0);
		atomic_store(&before_add, hold_up);
		int peer = peer_connect(sttcp_server_port(server));
		peer_shutdown(peer);
		assert_true(event_wait(&in_add, round));
		assert_int_equal(pthread_create(&stopper.thread, NULL, run_stop, &stopper), 0);
		for (int i = 0; i < 50 && is_socket(atomic_load(&adding)); i++)
			nap_ms(2);
		for (int i = 0; i < PIPES; i++)
			assert_int_equal(pipe(pipes[i]), 0);
		atomic_store(&before_add, NULL);
		event_raise(&go_on);
		pthread_join(stopper.thread, NULL);
		for (int i = 0; i < PIPES; i++) {
			peer_close(pipes[i][0]);
			peer_close(pipes[i][1]);
		}
		peer_close(peer);
		assert_int_equal(atomic_load(&strangers), 0);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------ open */

static struct event in_open = EVENT_INIT;
static struct event may_open = EVENT_INIT;

/* The first option of a connection that has just been made. */
static int interrupted_option(int fd, int level, int name, const void *value, socklen_t size)
{
	if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
		event_raise(&in_open);
		event_wait(&may_open, 1);
	}
	return real_setsockopt(fd, level, name, value, size);
}

struct closer {
	sttcp_client *client;
	atomic_int tid;
};

static void *close_client(void *argument)
{
	struct closer *closer = argument;

	atomic_store(&closer->tid, (int)syscall(SYS_gettid));
	sttcp_client_close(closer->client);
	return NULL;
}

/* However long it lingers: its peer learns at once that nothing comes. */
static void client_that_is_closed_while_it_opens_sends_fin(void **state)
{
	struct probe *probe = probe_new();
	struct closer closer = {.tid = 0};
	pthread_t thread;
	int port;
	int listener = peer_listen(&port, 4);

	(void)state;
	atomic_store(&stand_in_setsockopt, interrupted_option);
	closer.client =
		probe_dial(probe, port, STTCP_OPTIONS(.linger_timeout_ms = 3 * DEADLINE_MS));
	assert_true(event_wait(&in_open, 1));
	assert_int_equal(pthread_create(&thread, NULL, close_client, &closer), 0);
	EVENTUALLY(thread_sleeps(atomic_load(&closer.tid)));
	event_raise(&may_open);
	int peer = peer_accept(listener);

	assert_int_equal(peer_end(peer), 0);
	pthread_join(thread, NULL);
	atomic_store(&stand_in_setsockopt, NULL);
	peer_close(peer);
	peer_close(listener);
	sttcp_client_free(closer.client);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer_that_is_early_is_served),
		cmocka_unit_test(forced_stop_leaves_no_descriptor_to_register),
		cmocka_unit_test(client_that_is_closed_while_it_opens_sends_fin),
	};

	atomic_store(&stand_in_epoll_ctl, interrupted_ctl);
	/* The loop that is held up is another one than the connection's. */
	if (sttcp_engine_configure(2, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
