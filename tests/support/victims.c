/* SPDX-License-Identifier: MIT */
#include "support/victims.h"

enum {
	/* Rounds begin at random moments within this time; nothing is waited for with it. */
	MOMENT_US = 1500
};

static uint32_t random_state;

static void *run_victim(void *argument)
{
	struct victim *victim = argument;
	int cancel = -1;

	event_raise(&victim->ready);
	do {
		atomic_store(&victim->result, victim->call(victim));
		atomic_fetch_add(&victim->calls, 1);
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel);
		atomic_store(&victim->state, cancel);
		event_raise(&victim->done);
		pthread_testcancel();
	} while (victim->loops);
	/* The cancellation comes now, or it came before. */
	for (;;)
		pause();
	return NULL;
}

void victim_start(struct victim *victim, int (*call)(struct victim *victim))
{
	struct event fresh = EVENT_INIT;

	victim->call = call;
	victim->ready = fresh;
	victim->done = fresh;
	atomic_init(&victim->result, 1);
	atomic_init(&victim->state, -1);
	atomic_init(&victim->calls, 0);
	assert_int_equal(pthread_create(&victim->thread, NULL, run_victim, victim), 0);
	assert_true(event_wait(&victim->ready, 1));
}

void some_moment(void)
{
	struct timespec time = {.tv_nsec = (long)(next_random(&random_state) % MOMENT_US) * 1000};

	nanosleep(&time, NULL);
}

void victim_cancel(struct victim *victim)
{
	assert_int_equal(pthread_cancel(victim->thread), 0);
}

/* In a call that waits: the cancellation does not end it. */
void victim_cancel_waiting(struct victim *victim)
{
	victim_cancel(victim);
	assert_false(event_wait_ms(&victim->done, 1, VICTIM_STAYS_MS));
}

/* The call has returned with its result, and then the thread was cancelled. */
int victim_finish(struct victim *victim)
{
	void *value = NULL;

	assert_true(event_wait(&victim->done, 1));
	assert_int_equal(pthread_join(victim->thread, &value), 0);
	assert_ptr_equal(value, PTHREAD_CANCELED);
	assert_int_equal(atomic_load(&victim->state), PTHREAD_CANCEL_ENABLE);
	return atomic_load(&victim->result);
}

static int fds_before;

int victims_take_stock(void **state)
{
	/* The descriptors that stay, of the engine and for signals, come with the first use. */
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);

	(void)state;
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_keep_alive(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
	fds_before = count_fds();
	return 0;
}

/* Every descriptor of these objects has gone with them. */
int victims_check_stock(void **state)
{
	(void)state;
	EVENTUALLY(count_fds() <= fds_before);
	return 0;
}

void victims_seed(void)
{
	const char *seed = getenv("STTCP_CANCEL_SEED");

	random_state =
		seed ? (uint32_t)strtoul(seed, NULL, 10) : (uint32_t)now_ms() ^ (uint32_t)getpid();
	print_message("STTCP_CANCEL_SEED=%u\n", (unsigned)random_state);
}
