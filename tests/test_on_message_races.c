/* SPDX-License-Identifier: MIT */
/* A connection's own handler for messages, set by several threads at once: nobody gets the context
 * of another one. */
#include "support/book.h"

#include <sched.h>

static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);

/* Two handlers with a context each: nobody may get the other one's. */
enum {
	SETTERS = 3,
	MESSAGES = 20000
};

static struct {
	atomic_bool done;
	atomic_bool busy;
	atomic_int wrong;
	atomic_long by_left, by_right, by_book;
	int left, right;
} crowd;

static void enter(bool fits)
{
	if (!fits || atomic_exchange(&crowd.busy, true))
		crowd.wrong++;
}

static void leave(void)
{
	atomic_store(&crowd.busy, false);
}

static void take_right(sttcp_conn *conn, const void *data, size_t size, void *context);

static void take_left(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	enter(context == &crowd.left);
	/* The owner changes it at the same time as the others. */
	if (crowd.by_left++ % 16 == 0 && sttcp_conn_on_message(conn, take_right, &crowd.right) < 0)
		crowd.wrong++;
	(void)data;
	(void)size;
	leave();
}

static void take_right(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	enter(context == &crowd.right);
	crowd.by_right++;
	leave();
}

static void take_for_all(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)conn;
	(void)data;
	(void)size;
	enter(true);
	crowd.by_book++;
	leave();
}

static void *keep_setting(void *argument)
{
	sttcp_conn *conn = argument;

	for (unsigned i = 0; !crowd.done; i++) {
		int result = i % 3 == 0	  ? sttcp_conn_on_message(conn, take_left, &crowd.left)
			     : i % 3 == 1 ? sttcp_conn_on_message(conn, take_right, &crowd.right)
					  : sttcp_conn_on_message(conn, NULL, &crowd.left);

		if (result < 0)
			crowd.wrong++;
		sched_yield();
	}
	return NULL;
}

/* Each message is handled once, by one handler with its own context, while others are set. */
static void own_handler_changes_whole(void **state)
{
	struct talk talk = {.book = book_new()};
	pthread_t setters[SETTERS];
	char block[100];

	(void)state;
	memset(&crowd, 0, sizeof(crowd));
	talk.book->script = take_for_all;
	/* A book would fill up. */
	talk.book->len = sizeof(talk.book->text) - 1;
	talk_open(&talk, &lines);
	for (int i = 0; i < SETTERS; i++)
		assert_int_equal(pthread_create(&setters[i], NULL, keep_setting, talk.book->conn),
				 0);
	memset(block, '\n', sizeof(block));
	for (int sent = 0; sent < MESSAGES; sent += (int)sizeof(block))
		assert_true(peer_send(talk.peer, block, sizeof(block)));
	EVENTUALLY(crowd.by_left + crowd.by_right + crowd.by_book >= MESSAGES || crowd.wrong);
	crowd.done = true;
	for (int i = 0; i < SETTERS; i++)
		pthread_join(setters[i], NULL);
	peer_shutdown(talk.peer);
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(crowd.wrong, 0);
	assert_int_equal(crowd.by_left + crowd.by_right + crowd.by_book, MESSAGES);
	talk_close(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_handler_changes_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
