/* SPDX-License-Identifier: MIT */
/* Signals. A signal handler may do little (signal-safety(7)): ours, and a request of somebody
 * else's, leave a note in an atomic variable and write to an eventfd. */
#include "group/signals.h"

#include <signal.h>
#include <stdatomic.h>

#include "base/mutex.h"
#include "engine/engine.h"
#include "net/poller.h"
#include "net/socket.h"

enum {
	NSIGNALS = 2
};

static const int numbers[NSIGNALS] = {SIGINT, SIGTERM};

static struct stt_mutex signals_lock = STT_MUTEX_INIT;
/* Under the lock. */
static int users;
static struct sigaction saved[NSIGNALS];
static bool taken[NSIGNALS];
/* Atomic, for the handler and the loop. The waker comes with the engine: a signal handler could not
 * make one. */
static atomic_int waker = -1;
static atomic_int waking; /* threads that may be about to write to it */
static atomic_int arrived;
static atomic_bool requested; /* some group has a request to stop */
static atomic_int for_all;
/* Set with the waker, read by the loop: what is to be done. */
static void (*when_arrived)(enum stt_signals_for whom);
static void (*when_requested)(void);

/* Counted, so that the engine's end does not close the descriptor under it: then the number may be
 * a stranger's. */
static void wake_loop(void)
{
	atomic_fetch_add(&waking, 1);
	int fd = atomic_load(&waker);

	if (fd >= 0)
		stt_waker_wake(fd);
	atomic_fetch_sub(&waking, 1);
}

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(&arrived, 1);
	wake_loop();
}

static void pass_on(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	(void)worker;
	(void)actor;
	(void)events;
	for (int count = atomic_exchange(&arrived, 0); count > 0; count--)
		when_arrived(atomic_load(&for_all) > 0 ? STT_SIGNALS_FOR_ALL
						       : STT_SIGNALS_FOR_WATCHED);
	if (atomic_exchange(&requested, false))
		when_requested();
}

static const struct stt_actor_ops signal_ops = {.on_event = pass_on};
static struct stt_actor signal_actor = {.ops = &signal_ops};

void stt_signals_pass_requests_on(void)
{
	atomic_store(&requested, true);
	wake_loop();
}

int stt_signals_open(struct stt_engine *engine, void (*arrived_fn)(enum stt_signals_for whom),
		     void (*requested_fn)(void))
{
	when_arrived = arrived_fn;
	when_requested = requested_fn;

	int result = stt_waker_open(engine->loops[0].poller, &signal_actor);

	if (result < 0)
		return result;
	/* Signals that came too late for the previous engine have no effect any more. */
	atomic_store(&arrived, 0);
	atomic_store(&requested, false);
	atomic_store(&waker, result);
	return 0;
}

void stt_signals_close(void)
{
	int fd = atomic_exchange(&waker, -1);

	stt_wait_for_zero(&waking);
	stt_socket_close(fd);
}

static void take_signals_locked(void) STT_REQUIRES(signals_lock)
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

static void give_signals_back_locked(void) STT_REQUIRES(signals_lock)
{
	for (int i = 0; i < NSIGNALS; i++) {
		if (taken[i])
			sigaction(numbers[i], &saved[i], NULL);
		taken[i] = false;
	}
}

/* The calling thread takes the signals, whatever its mask was: after the handler is there, so that
 * one that waits already finds it. */
static void let_through_locked(sigset_t *before) STT_REQUIRES(signals_lock)
{
	sigset_t signals;

	sigemptyset(&signals);
	for (int i = 0; i < NSIGNALS; i++)
		if (taken[i])
			sigaddset(&signals, numbers[i]);
	pthread_sigmask(SIG_UNBLOCK, &signals, before);
}

void stt_signals_enter(enum stt_signals_for whom, sigset_t *before)
{
	stt_lock(&signals_lock);
	if (whom == STT_SIGNALS_FOR_ALL)
		atomic_fetch_add(&for_all, 1);
	if (users++ == 0)
		take_signals_locked();
	let_through_locked(before);
	stt_unlock(&signals_lock);
}

void stt_signals_leave(enum stt_signals_for whom, const sigset_t *before)
{
	stt_lock(&signals_lock);
	/* First the mask: a signal that the program had blocked must not meet its old disposition.
	 */
	pthread_sigmask(SIG_SETMASK, before, NULL);
	if (whom == STT_SIGNALS_FOR_ALL)
		atomic_fetch_sub(&for_all, 1);
	if (--users == 0)
		give_signals_back_locked();
	stt_unlock(&signals_lock);
}

void stt_signals_after_fork(void)
{
	stt_mutex_init(&signals_lock);
	stt_lock(&signals_lock);
	give_signals_back_locked();
	users = 0;
	stt_unlock(&signals_lock);
	atomic_store(&waker, -1);
	atomic_store(&waking, 0);
	atomic_store(&arrived, 0);
	atomic_store(&requested, false);
	atomic_store(&for_all, 0);
}
