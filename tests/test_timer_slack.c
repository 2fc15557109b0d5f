/* SPDX-License-Identifier: MIT */
/* How late a sleep or a timeout of a handler may end (timer_slack, prctl(2)): no later than that of
 * the thread that made the first start, whichever thread of the library made the handler's. */
#include "support/support.h"

#include <sys/prctl.h>

enum {
	CONNS = 20,
	SLACK_NS = 70000
};

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;
static atomic_int wrong;

/* Blocks, so that the loop is taken over, and the next one runs on a thread made for that. */
static void look_and_block(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	if (prctl(PR_GET_TIMERSLACK) != SLACK_NS)
		atomic_fetch_add(&wrong, 1);
	event_raise(&inside);
	event_wait(&gate, 1);
}

static void handlers_have_the_slack_of_who_started(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	int peers[CONNS];

	(void)state;
	assert_int_equal(prctl(PR_SET_TIMERSLACK, (unsigned long)SLACK_NS), 0);
	assert_int_equal(sttcp_engine_configure(1, 0, 0), 0);
	assert_int_equal(sttcp_server_on_receive(server, look_and_block), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < CONNS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "x"));
		assert_true(event_wait(&inside, i + 1));
	}
	event_raise(&gate);
	for (int i = 0; i < CONNS; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	assert_int_equal(atomic_load(&wrong), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handlers_have_the_slack_of_who_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
