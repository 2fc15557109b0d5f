/* SPDX-License-Identifier: MIT */
/* What the log tells of a client that connects again: how long each wait is, and the last try. */
#include "support/support.h"

#include <sys/socket.h>

static struct {
	pthread_mutex_t lock;
	char again[4][160];
	int nagain;
	char over[160];
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note_line(int level, const char *text, void *context)
{
	const char *try = strstr(text, ", try ");
	int number = try ? atoi(try + 6) : 0;

	(void)context;
	pthread_mutex_lock(&logged.lock);
	/* A try may be over before the thread that planned it has told of it. */
	if (level == 3 && strstr(text, "connects again in ") && number >= 1 && number <= 4) {
		snprintf(logged.again[number - 1], sizeof(logged.again[0]), "%s", text);
		logged.nagain++;
	}
	if (level == 3 && strstr(text, "does not connect again"))
		snprintf(logged.over, sizeof(logged.over), "%s", text);
	pthread_mutex_unlock(&logged.lock);
}

static int told(void)
{
	pthread_mutex_lock(&logged.lock);
	int count = logged.nagain + (logged.over[0] != '\0');
	pthread_mutex_unlock(&logged.lock);
	return count;
}

/* What was told of the first try, if anything was. */
static bool first_try(char *line, size_t size)
{
	pthread_mutex_lock(&logged.lock);
	snprintf(line, size, "%s", logged.again[0]);
	pthread_mutex_unlock(&logged.lock);
	return line[0];
}

static void log_tells_each_wait_and_the_end_of_the_tries(void **state)
{
	struct probe *probe = probe_new();
	char wanted[160];
	int wait_ms, try, port;
	int refusing = peer_refuse(&port);

	(void)state;
	sttcp_set_log(note_line, NULL);
	sttcp_client *client = probe_dial(
		probe, port,
		STTCP_OPTIONS(.reconnect_ms = 1, .reconnect_max_ms = 20, .reconnect_tries = 2));
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	EVENTUALLY(told() == 3);
	sttcp_set_log(NULL, NULL);
	for (int i = 0; i < 2; i++) {
		const char *words = strstr(logged.again[i], "connects");

		snprintf(wanted, sizeof(wanted), "127.0.0.1:%d: connects again in ", port);
		assert_memory_equal(logged.again[i], wanted, strlen(wanted));
		assert_int_equal(
			sscanf(words, "connects again in %d ms, try %d of 2", &wait_ms, &try), 2);
		assert_int_equal(try, i + 1);
		assert_in_range(wait_ms, 0, 1 << i);
	}
	snprintf(wanted, sizeof(wanted),
		 "127.0.0.1:%d: does not connect again, reconnect_tries is 2", port);
	assert_string_equal(logged.over, wanted);
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

/* A connection that was open for reconnect_max_ms is forgiven the failures before it. */
static void wait_is_short_after_a_connection_that_lasted(void **state)
{
	enum {
		MOST_MS = 300
	};
	struct probe *probe = probe_new();
	char line[160];
	int wait_ms, port;
	int listener = peer_refuse(&port);

	(void)state;
	sttcp_client *client = probe_dial(
		probe, port, STTCP_OPTIONS(.reconnect_ms = 1, .reconnect_max_ms = MOST_MS));
	/* By now the bound is MOST_MS. */
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 10));
	assert_int_equal(listen(listener, 8), 0);
	int peer = peer_accept(listener);
	assert_true(peer >= 0);
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	nap_ms(MOST_MS + 10);
	logged.again[0][0] = '\0';
	sttcp_set_log(note_line, NULL);
	peer_close(peer);
	peer = peer_accept(listener);
	assert_true(peer >= 0);
	EVENTUALLY(first_try(line, sizeof(line)));
	sttcp_set_log(NULL, NULL);
	const char *words = strstr(line, "connects");
	assert_non_null(words);
	assert_int_equal(sscanf(words, "connects again in %d ms, try 1", &wait_ms), 1);
	assert_in_range(wait_ms, 0, 1);
	sttcp_client_free(client);
	peer_close(peer);
	peer_close(listener);
	probe_free(probe);
}

static void close_after_the_last_try(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)reason;
	if (probe_count(probe, STTCP_UNCONNECTED) == 1 &&
	    sttcp_client_close(sttcp_conn_client(conn)) != 0)
		probe_violate(probe, "it is not closed");
}

/* It is the close that ends it, and not the number of its tries. */
static void log_tells_no_end_of_the_tries_of_a_closed_client(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	logged.over[0] = '\0';
	sttcp_set_log(note_line, NULL);
	probe->ended = close_after_the_last_try;
	sttcp_client *client =
		probe_dial(probe, port, STTCP_OPTIONS(.reconnect_ms = 1, .reconnect_tries = 1));
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	sttcp_client_free(client);
	/* The line would come behind the end of the run, on a thread that has ended by now. */
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	sttcp_set_log(NULL, NULL);
	assert_string_equal(logged.over, "");
	peer_close(refusing);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_tells_each_wait_and_the_end_of_the_tries),
		cmocka_unit_test(wait_is_short_after_a_connection_that_lasted),
		cmocka_unit_test(log_tells_no_end_of_the_tries_of_a_closed_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
