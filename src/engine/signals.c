/* SPDX-License-Identifier: MIT */
/* Signals. The handler does what a signal handler may: it adds to a counter and writes to an
 * eventfd (signal-safety(7)). */
#include "engine/signals.h"

#include <signal.h>
#include <stdatomic.h>

#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/group.h"
#include "net/poller.h"

enum {
	NSIGNALS = 2
};

static const int numbers[NSIGNALS] = {SIGINT, SIGTERM};

static struct stt_mutex lock = STT_MUTEX_INIT;
/* Under the lock. */
static int users;
static struct sigaction saved[NSIGNALS];
static bool taken[NSIGNALS];
/* Atomic, for the handler and the loop. */
static atomic_int waker = -1;
static atomic_int arrived;
static atomic_int for_everything;

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(&arrived, 1);
	stt_waker_wake(atomic_load(&waker));
}

static void pass_on(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	(void)worker;
	(void)actor;
	(void)events;
	for (int count = atomic_exchange(&arrived, 0); count > 0; count--)
		stt_group_signal_all(atomic_load(&for_everything) > 0);
}

static const struct stt_actor_ops signal_ops = {.on_event = pass_on};
static struct stt_actor signal_actor = {.ops = &signal_ops};

static void take_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	sigemptyset(&action.sa_mask);
	for (int i = 0; i < NSIGNALS; i++) {
		/* Looked at first: set and put back, a signal in between would be lost. */
		sigaction(numbers[i], NULL, &saved[i]);
		taken[i] = saved[i].sa_handler != SIG_IGN;
		if (taken[i])
			sigaction(numbers[i], &action, NULL);
	}
}

static void give_signals_back(void)
{
	for (int i = 0; i < NSIGNALS; i++) {
		if (taken[i])
			sigaction(numbers[i], &saved[i], NULL);
		taken[i] = false;
	}
}

int stt_signals_enter(struct stt_engine *engine, bool everything)
{
	int result = 0;

	stt_lock(&lock);
	if (atomic_load(&waker) < 0) {
		result = stt_waker_open(engine->loops[0].poller, &signal_actor);
		if (result >= 0)
			atomic_store(&waker, result);
	}
	if (result >= 0) {
		if (everything)
			atomic_fetch_add(&for_everything, 1);
		if (users++ == 0)
			take_signals();
	}
	stt_unlock(&lock);
	return result < 0 ? result : 0;
}

void stt_signals_leave(bool everything)
{
	stt_lock(&lock);
	if (everything)
		atomic_fetch_sub(&for_everything, 1);
	if (--users == 0)
		give_signals_back();
	stt_unlock(&lock);
}

void stt_signals_after_fork(void)
{
	stt_mutex_init(&lock);
	give_signals_back();
	users = 0;
	atomic_store(&waker, -1);
	atomic_store(&arrived, 0);
	atomic_store(&for_everything, 0);
}
