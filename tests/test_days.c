/* SPDX-License-Identifier: MIT */
/* What takes days: a client that connects again, to nobody, and tasks for later. The monotonic
 * clock and the timers of loops are this program's own, in front of the C library's: time stands
 * still until a loop waits for a timer, and then it is that time. */
#include "support/support.h"

#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>

enum {
	FIRST_MS = 1000,
	MOST_MS = 30000,
	DAYS = 2
};

/* Milliseconds ahead of the real clock as it was at the beginning; 0: not begun. */
static atomic_llong simulated_ms;

static int real_clock(clockid_t clock, struct timespec *now)
{
#ifdef SYS_clock_gettime64
	/* Where long has 32 bits and time_t 64. */
	if (sizeof(now->tv_sec) > sizeof(long))
		return (int)syscall(SYS_clock_gettime64, clock, now);
#endif
	return (int)syscall(SYS_clock_gettime, clock, now);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int64_t ms = atomic_load(&simulated_ms);

	if (clock != CLOCK_MONOTONIC || !ms)
		return real_clock(clock, now);
	*now = (struct timespec){.tv_sec = (time_t)(ms / 1000),
				 .tv_nsec = (long)(ms % 1000 * 1000000)};
	return 0;
}

/* Rings at once, and by then it is that time. */
int timerfd_settime(int timer, int flags, const struct itimerspec *spec, struct itimerspec *before)
{
	const long at_once[4] = {0, 0, 0, 1};
	int64_t at_ms = (int64_t)spec->it_value.tv_sec * 1000 + spec->it_value.tv_nsec / 1000000;

	(void)flags;
	(void)before;
	if (at_ms > atomic_load(&simulated_ms))
		atomic_store(&simulated_ms, at_ms);
	return (int)syscall(SYS_timerfd_settime, timer, 0, at_once, NULL);
}

static int64_t simulated_now(void)
{
	return atomic_load(&simulated_ms);
}

/* Once for all cases: the clock never goes back. */
static void begin_simulation(void)
{
	struct timespec now;

	if (simulated_now())
		return;
	real_clock(CLOCK_MONOTONIC, &now);
	atomic_store(&simulated_ms, (int64_t)now.tv_sec * 1000 + 1000);
}

static struct {
	int64_t last_ms;
	int64_t longest_ms;
	int64_t until_ms;
	long attempts;
	struct event over;
} days = {.over = EVENT_INIT};

static void note_attempt(struct probe *probe, sttcp_conn *conn, int reason)
{
	int64_t gap_ms = simulated_now() - days.last_ms;
	bool is_over = event_count(&days.over) > 0;

	(void)conn;
	if (reason == STTCP_EDESTROYED)
		return;
	/* A server that starts has made its file, and may not listen yet. */
	if (reason != -ENOENT && !(is_over && reason == -ECONNREFUSED))
		probe_violate(probe, "reason %d", reason);
	if (is_over)
		return;
	days.last_ms += gap_ms;
	if (gap_ms > days.longest_ms)
		days.longest_ms = gap_ms;
	days.attempts++;
	if (simulated_now() >= days.until_ms)
		event_raise(&days.over);
}

/* Every 15 seconds on average, and never more than 30 apart; then it finds the server. */
static void client_outlasts_days_without_its_server(void **state)
{
	struct probe *probe = probe_new();
	struct probe *side = probe_new();
	char host[80];

	(void)state;
	begin_simulation();
	snprintf(host, sizeof(host), "unix:/tmp/sttcp-days-%d", (int)getpid());
	days.last_ms = simulated_now();
	days.until_ms = days.last_ms + INT64_C(1000) * 3600 * 24 * DAYS;
	probe->ended = note_attempt;
	probe->without = NO_UNIVERSAL;
	sttcp_client *client = probe_client(
		probe, host, 0, STTCP_OPTIONS(.reconnect_ms = FIRST_MS, .connect_timeout_ms = -1));
	assert_int_equal(sttcp_client_start(client), 0);
	/* As long as it goes on trying. */
	while (!event_count(&days.over))
		assert_true(probe_wait(probe, STTCP_UNCONNECTED,
				       probe_count(probe, STTCP_UNCONNECTED) + 1));

	sttcp_server *server = probe_server(side, host, 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_client_free(client);
	sttcp_server_free(server);

	const long ordinary = DAYS * 24 * 3600 * 1000L / (MOST_MS / 2);

	print_message("%ld attempts in %d days, the longest wait was %lld ms\n", days.attempts,
		      DAYS, (long long)days.longest_ms);
	assert_in_range(days.attempts, ordinary * 95 / 100, ordinary * 105 / 100);
	assert_in_range(days.longest_ms, MOST_MS * 98 / 100, MOST_MS + 1);
	probe_free(side);
	probe_free(probe);
}

static atomic_llong ran_ms;
static struct event ran = EVENT_INIT;

static void note_time(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
	atomic_store(&ran_ms, simulated_now());
	event_raise(&ran);
}

/* As sttcp_conn_after says, and a millisecond, since none is early. */
static int most_late_ms(int delay_ms)
{
	return (delay_ms < 32000 ? delay_ms / 1000 : 32) + 1;
}

/* Those that are due at about the same time may share a wake-up, but none comes early for that. At
 * odd times, so that the time that they share is another one than their own. */
static void task_for_much_later_is_not_early(void **state)
{
	const int delays[] = {2049, 4099, 10007, 60013, 3600011, 86400007, INT32_MAX};
	struct pair pair = {0};

	(void)state;
	begin_simulation();
	pair_open(&pair, NULL);
	for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		int64_t begin = simulated_now();

		assert_true(sttcp_conn_after(pair.conn, delays[i], note_time, NULL, NULL) > 0);
		assert_true(event_wait(&ran, (long)i + 1));

		int64_t took = atomic_load(&ran_ms) - begin;

		print_message("%d ms: %lld\n", delays[i], (long long)took);
		assert_true(took >= delays[i]);
		assert_true(took <= delays[i] + (int64_t)most_late_ms(delays[i]));
	}
	pair_close(&pair);
}

enum {
	EVERY_MS = 1000,
	CALLS = 10
};

static int64_t called_ms[CALLS];
static struct event called = EVENT_INIT;

/* A call of 2.5 s: two times pass meanwhile. */
static void take_long(sttcp_conn *conn, void *argument)
{
	long calls = event_count(&called);

	(void)conn;
	(void)argument;
	if (calls < CALLS)
		called_ms[calls] = simulated_now();
	atomic_fetch_add(&simulated_ms, 5 * EVERY_MS / 2);
	event_raise(&called);
}

/* A task that repeats keeps to the times from its first one on, whatever its calls take. */
static void task_that_repeats_has_no_drift(void **state)
{
	struct pair pair = {0};

	(void)state;
	begin_simulation();
	pair_open(&pair, NULL);
	int64_t begin = simulated_now();
	assert_true(sttcp_conn_every(pair.conn, EVERY_MS, take_long, NULL, NULL) > 0);
	assert_true(event_wait(&called, CALLS));
	for (int i = 0; i < CALLS; i++) {
		int64_t due = begin + EVERY_MS + INT64_C(3) * EVERY_MS * i;

		assert_in_range(called_ms[i] - due, 0, 1);
	}
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(task_for_much_later_is_not_early),
		cmocka_unit_test(task_that_repeats_has_no_drift),
		cmocka_unit_test(client_outlasts_days_without_its_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
