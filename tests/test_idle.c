/* SPDX-License-Identifier: MIT */
/* G15: an idle server uses no CPU at all. Counted in context switches and CPU time of all threads
 * but the test's own. */
#include "support/support.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <time.h>

enum {
	MOST_PEERS = 100
};

/* A sanitizer's own thread has this name, or none of its own but a clock. */
static long switches_of(const char *task)
{
	char path[300];
	char line[256];
	long sum = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", task);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		const char *at = strstr(line, "ctxt_switches:");

		if (at != NULL)
			sum += strtol(at + strlen("ctxt_switches:"), NULL, 10);
	}
	fclose(file);
	return sum;
}

/* Of all threads but the calling one; -1 when a thread has come or gone meanwhile. */
static long switches_of_others(void)
{
	DIR *dir = opendir("/proc/self/task");
	long own = (long)syscall(SYS_gettid);
	long sum = 0;

	if (dir == NULL)
		return -1;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] != '.' && atol(entry->d_name) != own)
			sum += switches_of(entry->d_name);
	}
	closedir(dir);
	return sum;
}

/* The process's CPU time without the calling thread's, in microseconds. */
static int64_t cpu_of_others_us(void)
{
	struct timespec all;
	struct timespec own;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
	return ((int64_t)all.tv_sec - own.tv_sec) * 1000000 + (all.tv_nsec - own.tv_nsec) / 1000;
}

/* Waits until everybody has gone to sleep: two samples, 200 ms apart, that are equal. Then nothing
 * may move for a second. Threads that leave after some seconds are waited for here, too. */
static void expect_silence(void)
{
	int64_t until = now_ms() + DEADLINE_MS;
	int threads = -1;
	long switches = -1;
	int still = 0;

	while (still < 5 && now_ms() < until) {
		long now = switches_of_others();
		int count = count_threads();

		still = now == switches && count == threads ? still + 1 : 0;
		switches = now;
		threads = count;
		nap_ms(200);
	}
	assert_true(still >= 5); /* it never became quiet */
	/* A thread that had nothing to do may leave in just this second: then once more. */
	for (int i = 0; i < 8; i++) {
		switches = switches_of_others();
		threads = count_threads();
		int64_t cpu = cpu_of_others_us();
		nap_ms(1000);
		cpu = cpu_of_others_us() - cpu;
		long moved = switches_of_others() - switches;
		if (count_threads() != threads)
			continue;
		assert_int_equal(moved, 0);
		assert_true(cpu < 500); /* the clocks are read one after the other */
		return;
	}
	fail_msg("threads kept coming or leaving");
}

static void idle(int peers_count, bool with_data)
{
	struct probe *probe = probe_new();
	int peers[MOST_PEERS];

	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < peers_count; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peers[i] >= 0);
		if (with_data) {
			assert_true(peer_say(peers[i], "x"));
			assert_true(peer_expect(peers[i], "x"));
		}
	}
	EVENTUALLY(sttcp_server_count(server) == peers_count);
	if (UNDER_TSAN)
		print_message("the thread sanitizer's own thread never sleeps: not measured\n");
	else
		expect_silence();
	/* It is asleep, not dead. */
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(peer, "wake up"));
	assert_true(peer_expect(peer, "wake up"));
	peer_close(peer);
	for (int i = 0; i < peers_count; i++) {
		assert_true(peer_say(peers[i], "y"));
		assert_true(peer_expect(peers[i], "y"));
		peer_close(peers[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void idle_server_without_connections_is_silent(void **state)
{
	(void)state;
	idle(0, false);
}

static void idle_server_with_connections_is_silent(void **state)
{
	(void)state;
	idle(MOST_PEERS, true);
}

static void idle_clients_are_silent(void **state)
{
	int port;
	int listener = peer_listen(&port, 64);
	struct probe *probe = probe_new();
	sttcp_client *clients[20];
	int peers[20];

	(void)state;
	for (int i = 0; i < 20; i++) {
		clients[i] = probe_dial(probe, port, NULL);
		peers[i] = peer_accept(listener);
	}
	assert_true(probe_wait(probe, STTCP_CONNECTION, 20));
	if (!UNDER_TSAN)
		expect_silence();
	for (int i = 0; i < 20; i++) {
		sttcp_client_free(clients[i]);
		peer_close(peers[i]);
	}
	peer_close(listener);
	probe_free(probe);
}

static struct event gate = EVENT_INIT;

static bool block(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	event_raise(probe->extra);
	event_wait_ms(&gate, 1, 3 * DEADLINE_MS);
	return true;
}

/* Blocked handlers are no work either: nobody looks at them again and again for ever. */
static void blocked_handlers_cost_no_cpu(void **state)
{
	struct probe *probe = probe_new();
	struct event inside = EVENT_INIT;
	int peers[8];

	(void)state;
	if (UNDER_TSAN)
		skip();
	probe->data = block;
	probe->extra = &inside;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < 8; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "x"));
	}
	assert_true(event_wait(&inside, 8));
	expect_silence();
	event_raise(&gate);
	for (int i = 0; i < 8; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_server_without_connections_is_silent),
		cmocka_unit_test(idle_server_with_connections_is_silent),
		cmocka_unit_test(idle_clients_are_silent),
		cmocka_unit_test(blocked_handlers_cost_no_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
