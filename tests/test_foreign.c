/* SPDX-License-Identifier: MIT */
/* Descriptors of others that somebody waits for on a loop (engine/foreign.h): what is left in the
 * kernel of a descriptor that was closed. */
#include "conn/conn.h"
#include "engine/foreign.h"
#include "engine/loop.h"
#include "support/support.h"

#include <poll.h>

/* A pipe, and how often somebody was woken for it. */
struct waited {
	int ends[2];
	int64_t index;
	struct event woken;
};

static void note_wake(void *argument)
{
	struct waited *waited = argument;

	event_raise(&waited->woken);
}

static void open_waited(struct waited *waited)
{
	*waited = (struct waited){.woken = EVENT_INIT};
	assert_int_equal(pipe(waited->ends), 0);
}

static void wait_there(struct stt_loop *loop, struct waited *waited)
{
	waited->index = stt_foreign_add(loop, waited->ends[0], POLLIN, note_wake, waited);
	assert_true(waited->index >= 0);
}

static void make_readable(const struct waited *waited)
{
	assert_int_equal(write(waited->ends[1], "x", 1), 1);
}

static void stop_waiting(struct stt_loop *loop, const struct waited *waited)
{
	stt_foreign_remove(loop, waited->ends[0], waited->index);
}

static void close_ends(const struct waited *waited)
{
	close(waited->ends[0]);
	close(waited->ends[1]);
}

static void wakes_once(void **state)
{
	struct pair pair = {0};
	struct waited waited;

	(void)state;
	pair_open(&pair, NULL);
	open_waited(&waited);
	wait_there(pair.conn->loop, &waited);
	make_readable(&waited);
	assert_true(event_wait(&waited.woken, 1));
	stop_waiting(pair.conn->loop, &waited);
	/* As often as it is asked to. */
	wait_there(pair.conn->loop, &waited);
	assert_true(event_wait(&waited.woken, 2));
	stop_waiting(pair.conn->loop, &waited);
	assert_int_equal(event_count(&waited.woken), 2);
	close_ends(&waited);
	pair_close(&pair);
}

/* A copy (of dup(2), or of a child) keeps a closed descriptor in the poller, and nobody can take it
 * out any more: its events name a record that is somebody else's by now. */
static void event_of_a_closed_descriptor_wakes_nobody_else(void **state)
{
	struct pair pair = {0};
	struct waited gone, later, last;

	(void)state;
	pair_open(&pair, NULL);
	struct stt_loop *loop = pair.conn->loop;
	open_waited(&gone);
	open_waited(&later);
	open_waited(&last);
	int copy = dup(gone.ends[0]);

	assert_true(copy >= 0);
	wait_there(loop, &gone);
	close(gone.ends[0]);
	stop_waiting(loop, &gone);
	wait_there(loop, &later);
	assert_int_equal(later.index, gone.index);

	/* Events come in the sequence in which they happen: with the last one the first has come.
	 */
	make_readable(&gone);
	wait_there(loop, &last);
	make_readable(&last);
	assert_true(event_wait(&last.woken, 1));
	assert_int_equal(event_count(&gone.woken), 0);
	assert_int_equal(event_count(&later.woken), 0);
	make_readable(&later);
	assert_true(event_wait(&later.woken, 1));

	stop_waiting(loop, &later);
	stop_waiting(loop, &last);
	close(copy);
	close(gone.ends[1]);
	close_ends(&later);
	close_ends(&last);
	pair_close(&pair);
}

/* The number of a closed descriptor is given to another one, for which somebody else waits: to stop
 * waiting for the first takes nothing from the second. */
static void waiter_for_a_closed_number_leaves_its_next_user_alone(void **state)
{
	struct pair pair = {0};
	struct waited gone, next;

	(void)state;
	pair_open(&pair, NULL);
	struct stt_loop *loop = pair.conn->loop;
	open_waited(&gone);
	open_waited(&next);
	wait_there(loop, &gone);
	assert_int_equal(dup2(next.ends[0], gone.ends[0]), gone.ends[0]);
	close(next.ends[0]);
	next.ends[0] = gone.ends[0];
	wait_there(loop, &next);
	assert_true(next.index != gone.index);
	stop_waiting(loop, &gone);
	make_readable(&next);
	assert_true(event_wait(&next.woken, 1));
	stop_waiting(loop, &next);
	assert_int_equal(event_count(&gone.woken), 0);
	close(gone.ends[1]);
	close_ends(&next);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wakes_once),
		cmocka_unit_test(event_of_a_closed_descriptor_wakes_nobody_else),
		cmocka_unit_test(waiter_for_a_closed_number_leaves_its_next_user_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
