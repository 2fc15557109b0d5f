/* SPDX-License-Identifier: MIT */
/* Alarms for now, of which there may be one for each peer that takes what it is sent: the loop
 * looks at its events between them, and rings each before any comes twice more. */
#include "support/faults.h"
#include "support/support.h"

#include "conn/conn.h"
#include "engine/loop.h"

enum {
	ALARMS = 100,
	TIMES = 5 /* that each rings */
};

struct bell {
	struct stt_alarm alarm;
	int rung;
};

static struct bell bells[ALARMS];
static struct stt_loop *loop;

/* On the loop's thread alone, while the test waits. */
static int rung_since_a_look;
static int most_between_looks;
static int most_ahead;
static struct event all_over = EVENT_INIT;

static int least_rung(void)
{
	int least = TIMES;

	for (int i = 0; i < ALARMS; i++)
		least = bells[i].rung < least ? bells[i].rung : least;
	return least;
}

static int64_t ring(struct stt_worker *worker, struct stt_alarm *alarm)
{
	struct bell *bell = stt_container_of(alarm, struct bell, alarm);

	(void)worker;
	bell->rung++;
	rung_since_a_look++;
	if (rung_since_a_look > most_between_looks)
		most_between_looks = rung_since_a_look;
	if (bell->rung - least_rung() > most_ahead)
		most_ahead = bell->rung - least_rung();
	if (least_rung() == TIMES)
		event_raise(&all_over);
	return bell->rung < TIMES ? 0 : STT_NEVER;
}

static int count_looks(int poller, struct epoll_event *events, int max, int timeout)
{
	if (loop && poller == loop->poller)
		rung_since_a_look = 0;
	return real_epoll_wait(poller, events, max, timeout);
}

/* All at once, on the loop, so that none has a start. */
static int64_t set_all(struct stt_worker *worker, struct stt_alarm *alarm)
{
	(void)worker;
	(void)alarm;
	for (int i = 0; i < ALARMS; i++)
		stt_alarm_set(loop, &bells[i].alarm, 0);
	return STT_NEVER;
}

static void alarms_for_now_leave_room_for_events(void **state)
{
	struct pair pair = {0};
	static struct stt_alarm first;

	(void)state;
	pair_open(&pair, NULL);
	loop = pair.conn->loop;
	atomic_store(&stand_in_epoll_wait, count_looks);
	stt_alarm_init(&first, set_all);
	for (int i = 0; i < ALARMS; i++)
		stt_alarm_init(&bells[i].alarm, ring);
	stt_alarm_set(loop, &first, 0);
	assert_true(event_wait(&all_over, 1));
	atomic_store(&stand_in_epoll_wait, NULL);
	assert_true(most_between_looks < ALARMS / 4);
	assert_true(most_ahead <= 1);
	/* It has not been held up by them, and goes on. */
	assert_true(peer_say(pair.peer, "hello"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alarms_for_now_leave_room_for_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
