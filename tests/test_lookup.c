/* SPDX-License-Identifier: MIT */
/* Names (G8, G14, G15, G17): a resolver that does not answer holds up nobody but those who wait for
 * it, and these no longer than their limits. This program's own getaddrinfo stands in front of the
 * C library's. */
#include "support/faults.h"
#include "support/support.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netdb.h>
#include <signal.h>

#include "engine/lookup.h"

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

enum {
	TOGETHER = 8 /* names that are looked up at a time */
};

/* ------------------------------------------------------------------- resolver */

/* A name that begins with "stuck" is answered when one more is let go; all are the loopback. */
static struct event asked = EVENT_INIT;
static struct event answered = EVENT_INIT;
static struct event go_on = EVENT_INIT;
static atomic_long let_go;
static atomic_int open_signals;
static char order[64];
static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;

static void note_asked(const char *name)
{
	const int numbers[] = {SIGINT, SIGTERM, SIGSEGV, SIGPROF, SIGUSR1, SIGPIPE};
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		atomic_fetch_add(&open_signals, !sigismember(&mask, numbers[i]));
	pthread_mutex_lock(&order_lock);
	if (strlen(name) == 1)
		strncat(order, name, sizeof(order) - strlen(order) - 1);
	pthread_mutex_unlock(&order_lock);
	event_raise(&asked);
}

static int answer(const char *restrict name, const char *restrict service,
		  const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	struct addrinfo *info = calloc(1, sizeof(*info) + sizeof(struct sockaddr_in));
	struct sockaddr_in *addr = (struct sockaddr_in *)(void *)(info + 1);

	(void)service;
	(void)hints;
	note_asked(name);
	if (strncmp(name, "stuck", 5) == 0)
		event_wait_ms(&go_on, atomic_fetch_add(&let_go, 1) + 1, 5 * DEADLINE_MS);
	addr->sin_family = AF_INET;
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	info->ai_family = AF_INET;
	info->ai_socktype = SOCK_STREAM;
	info->ai_addrlen = sizeof(*addr);
	info->ai_addr = (struct sockaddr *)addr;
	*list = info;
	event_raise(&answered);
	return 0;
}

static void free_answer(struct addrinfo *list)
{
	free(list);
}

static void let_all_go(void)
{
	while (event_count(&go_on) < atomic_load(&let_go))
		event_raise(&go_on);
	event_wait(&answered, event_count(&asked));
}

/* Those of the library that ask. */
static int count_lookup_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;
	int count = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		char path[300];
		char name[32] = "";

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		FILE *file = fopen(path, "re");
		if (file) {
			if (!fgets(name, sizeof(name), file))
				name[0] = '\0';
			fclose(file);
		}
		count += strcmp(name, "sttcp-lookup\n") == 0;
	}
	if (dir)
		closedir(dir);
	return count;
}

/* ------------------------------------------------------------------- children */

static void block(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	nap_ms(20);
	sttcp_conn_send(conn, data, size);
}

/* max_threads is for handlers: names are none, however many there are. */
static int look_up_beside_handlers(void)
{
	enum {
		CLIENTS = 3 * TOGETHER
	};
	sttcp_client *clients[CLIENTS];
	sttcp_stats stats;

	CHECK(sttcp_engine_configure(1, 3, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, block) == 0);
	CHECK(sttcp_server_start(server) == 0);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = sttcp_client_new("stuck", sttcp_server_port(server), NULL);
		CHECK(sttcp_client_start(clients[i]) == 0);
	}
	CHECK(event_wait(&asked, TOGETHER));
	int peers[3];
	for (int i = 0; i < 3; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	for (int round = 0; round < 5; round++)
		for (int i = 0; i < 3; i++) {
			CHECK(peer_say(peers[i], "x"));
			CHECK(peer_expect(peers[i], "x"));
		}
	CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	CHECK(stats.threads_blocked <= 1); /* the last handler's may not have come back */
	CHECK(stats.thread_cap_hits == 0);
	CHECK(event_count(&asked) == TOGETHER);
	CHECK(count_lookup_threads() == TOGETHER);
	CHECK(atomic_load(&open_signals) == 0);
	for (int i = 0; i < CLIENTS; i++)
		sttcp_client_free(clients[i]); /* waits for no answer */
	let_all_go();
	for (int i = 0; i < 3; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	return 0;
}

static void names_take_no_thread_of_handlers(void **state)
{
	(void)state;
	assert_int_equal(process_run("look_up_beside_handlers"), 0);
}

/* They leave, and then nothing is left that moves. */
static int leave_when_idle(void)
{
	sttcp_client *clients[2];

	for (int i = 0; i < 2; i++) {
		clients[i] = sttcp_client_new("quick", 1, NULL);
		CHECK(sttcp_client_start(clients[i]) == 0);
		CHECK(sttcp_client_wait(clients[i], DEADLINE_MS) == -ECONNREFUSED);
	}
	CHECK(count_lookup_threads() == 1); /* the second found the first one's */
	int64_t until = now_ms() + DEADLINE_MS;
	while (count_lookup_threads() > 0) {
		CHECK(now_ms() < until);
		nap_ms(20);
	}
	/* And come again. */
	CHECK(sttcp_client_start(clients[0]) == 0);
	CHECK(sttcp_client_wait(clients[0], DEADLINE_MS) == -ECONNREFUSED);
	CHECK(count_lookup_threads() == 1);
	stt_lookup_end_threads();
	CHECK(sttcp_client_start(clients[0]) == 0);
	CHECK(sttcp_client_wait(clients[0], DEADLINE_MS) == -ECONNREFUSED);
	stt_lookup_end_threads();
	for (int i = 0; i < 2; i++)
		sttcp_client_free(clients[i]);
	return 0;
}

static void threads_for_names_leave_and_come_again(void **state)
{
	(void)state;
	assert_int_equal(process_run("leave_when_idle"), 0);
}

/* G17: the child of a fork has none of the threads, and not the questions. */
static int fork_while_stuck(void)
{
	sttcp_client *stuck[TOGETHER + 2];

	for (int i = 0; i < TOGETHER + 2; i++) {
		stuck[i] = sttcp_client_new("stuck", 1, NULL);
		CHECK(sttcp_client_start(stuck[i]) == 0);
	}
	CHECK(event_wait(&asked, TOGETHER));
	pid_t pid = process_fork();
	if (pid == 0) {
		sttcp_client *client = sttcp_client_new("quick", 1, NULL);

		CHECK(sttcp_client_start(client) == 0);
		CHECK(sttcp_client_wait(client, DEADLINE_MS) == -ECONNREFUSED);
		sttcp_client_free(client);
		_exit(0);
	}
	CHECK(pid > 0);
	CHECK(process_wait_pid(pid) == 0);
	for (int i = 0; i < TOGETHER + 2; i++)
		sttcp_client_free(stuck[i]);
	let_all_go();
	return 0;
}

static void forked_child_looks_names_up(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_while_stuck"), 0);
}

/* ------------------------------------------------------------------ all stuck */

struct stuck {
	struct probe *probe;
	sttcp_client *client;
};

static void start_stuck(struct stuck *stuck, const char *name, int port, int limit_ms)
{
	stuck->probe = probe_new();
	stuck->client = probe_client(stuck->probe, name, port,
				     STTCP_OPTIONS(.connect_timeout_ms = limit_ms));
	assert_int_equal(sttcp_client_start(stuck->client), 0);
}

static void end_stuck(struct stuck *stuck)
{
	sttcp_client_free(stuck->client);
	probe_free(stuck->probe);
}

/* The limit counts while a name waits for its turn, and one that has ended there is never asked. */
static void limit_ends_a_name_that_waits_for_its_turn(void **state)
{
	struct stuck busy[TOGETHER];
	struct stuck late[3];
	long before = event_count(&asked);

	(void)state;
	for (int i = 0; i < TOGETHER; i++)
		start_stuck(&busy[i], "stuck", 1, -1);
	assert_true(event_wait(&asked, before + TOGETHER));
	for (int i = 0; i < 3; i++)
		start_stuck(&late[i], "late", 1, 100);
	for (int i = 0; i < 3; i++) {
		assert_true(probe_wait(late[i].probe, STTCP_UNCONNECTED, 1));
		assert_int_equal(probe_reason(late[i].probe), STTCP_ETIME_CONNECT);
		end_stuck(&late[i]);
	}
	let_all_go();
	for (int i = 0; i < TOGETHER; i++) {
		assert_true(probe_wait(busy[i].probe, STTCP_UNCONNECTED, 1));
		assert_int_equal(probe_reason(busy[i].probe), -ECONNREFUSED);
		end_stuck(&busy[i]);
	}
	assert_int_equal(event_count(&asked), before + TOGETHER);
}

static void names_are_asked_in_order(void **state)
{
	struct stuck busy[TOGETHER];
	struct stuck next[5];
	long before = event_count(&asked);

	(void)state;
	order[0] = '\0';
	for (int i = 0; i < TOGETHER; i++)
		start_stuck(&busy[i], "stuck", 1, -1);
	assert_true(event_wait(&asked, before + TOGETHER));
	for (int i = 0; i < 5; i++) {
		const char name[] = {(char)('a' + i), '\0'};

		start_stuck(&next[i], name, 1, -1);
	}
	event_raise(&go_on); /* one of them goes on with them */
	for (int i = 0; i < 5; i++)
		assert_true(probe_wait(next[i].probe, STTCP_UNCONNECTED, 1));
	assert_string_equal(order, "abcde");
	let_all_go();
	for (int i = 0; i < 5; i++)
		end_stuck(&next[i]);
	for (int i = 0; i < TOGETHER; i++)
		end_stuck(&busy[i]);
}

/* Questions that were given up keep their threads, but nobody from asking. */
static void name_is_found_beside_those_that_are_stuck_for_good(void **state)
{
	struct probe *serving = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	struct stuck busy[TOGETHER];
	struct stuck next;
	long before = event_count(&asked);

	(void)state;
	for (int i = 0; i < TOGETHER; i++)
		start_stuck(&busy[i], "stuck", 1, 50);
	for (int i = 0; i < TOGETHER; i++) {
		assert_true(probe_wait(busy[i].probe, STTCP_UNCONNECTED, 1));
		assert_int_equal(probe_reason(busy[i].probe), STTCP_ETIME_CONNECT);
		end_stuck(&busy[i]);
	}
	assert_true(event_count(&asked) > before);
	start_stuck(&next, "quick", sttcp_server_port(server), -1);
	assert_true(probe_wait(next.probe, STTCP_CONNECTION, 1));
	assert_true(event_count(&answered) < event_count(&asked));
	end_stuck(&next);
	let_all_go();
	EVENTUALLY(count_lookup_threads() <= TOGETHER);
	sttcp_server_free(server);
	probe_free(serving);
}

/* ---------------------------------------------------------------------- dials */

/* A handler that dials a name that never resolves: its limit ends that, and a forced stop. */
static struct event dialled = EVENT_INIT;
static atomic_int dial_code;
static atomic_int dial_limit_ms;

static bool dial_stuck(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	int code = 0;

	(void)probe;
	(void)conn;
	(void)data;
	(void)size;
	sttcp_conn *none =
		sttcp_dial("stuck", 1,
			   STTCP_OPTIONS(.connect_timeout_ms = atomic_load(&dial_limit_ms)), &code);

	dial_code = none ? 1 : code;
	event_raise(&dialled);
	return true;
}

static void dial_of_a_name_that_is_stuck_ends(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&asked);

	(void)state;
	pair.probe->data = dial_stuck;
	pair_open(&pair, NULL);
	dial_limit_ms = 50;
	assert_true(peer_say(pair.peer, "x"));
	assert_true(event_wait(&dialled, 1));
	assert_int_equal(dial_code, STTCP_ETIME_CONNECT);
	dial_limit_ms = -1;
	assert_true(peer_say(pair.peer, "x"));
	assert_true(event_wait(&asked, before + 2));
	assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
	assert_true(event_wait(&dialled, 2));
	assert_int_equal(dial_code, STTCP_ESTOPPED);
	let_all_go();
	pair_close(&pair);
}

/* -------------------------------------------------------------------- threads */

static void name_without_a_thread_says_so(void **state)
{
	struct stuck name;

	(void)state;
	stt_lookup_end_threads();
	fault_instead(SYS_clone, EAGAIN, -1);
	start_stuck(&name, "quick", 1, 0);
	assert_true(probe_wait(name.probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(name.probe), -EAGAIN);
	assert_non_null(strstr(probe_fail_text(name.probe), "quick:1"));
	fault_clear();
	assert_int_equal(sttcp_client_wait(name.client, DEADLINE_MS), -EAGAIN);
	assert_int_equal(sttcp_client_start(name.client), 0);
	assert_int_equal(sttcp_client_wait(name.client, DEADLINE_MS), -ECONNREFUSED);
	end_stuck(&name);
}

static const struct child children[] = {
	{"look_up_beside_handlers", look_up_beside_handlers},
	{"leave_when_idle", leave_when_idle},
	{"fork_while_stuck", fork_while_stuck},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_take_no_thread_of_handlers),
		cmocka_unit_test(threads_for_names_leave_and_come_again),
		cmocka_unit_test(forked_child_looks_names_up),
		cmocka_unit_test(limit_ends_a_name_that_waits_for_its_turn),
		cmocka_unit_test(names_are_asked_in_order),
		cmocka_unit_test(name_is_found_beside_those_that_are_stuck_for_good),
		cmocka_unit_test(dial_of_a_name_that_is_stuck_ends),
		cmocka_unit_test(name_without_a_thread_says_so),
	};

	atomic_store(&stand_in_getaddrinfo, answer);
	atomic_store(&stand_in_freeaddrinfo, free_answer);
	if (argc == 2)
		return child_main(children, argv[1]);
	/* One loop asks in the order of the starts. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
