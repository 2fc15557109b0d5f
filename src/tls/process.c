/* SPDX-License-Identifier: MIT */
/*
 * The life of OpenSSL in this process.
 *
 * Its own clean-up at exit(3) does not wait for other threads: 56 of 60 programs
 * that left main amid TLS traffic crashed. OPENSSL_INIT_NO_ATEXIT leaves that
 * out, but only in the first initialisation of the process. A program that has
 * used OpenSSL before has its clean-up registered. So OpenSSL is asked to call
 * `forbid` at the start of any clean-up: it keeps threads out from then on, and
 * waits for those inside.
 *
 * Nor does it know of fork(2): a lock of its own that a thread holds then is held
 * in the child for ever, and that clean-up took all of a CPU, waiting for it. So a
 * fork keeps threads out, too, waits for those inside, and lets them in again.
 */
#include "tls/process.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "tls/errors.h"
#include "tls/trust.h"

enum {
	NSLOTS = 16,
	CACHE_LINE = 64,
	/* A key in a slow module may keep a handshake inside for longer; who exits or forks does
	 * not wait for it for ever, and it may be a visit of its own. */
	WAITS_MAX_MS = 1000,
	/* In `barred`. */
	CLEANED_UP = 1, /* for good */
	A_FORK = 2	/* each that is going on */
};

struct slot {
	_Alignas(CACHE_LINE) atomic_int inside;
};

/* Sequentially consistent, both: who enters counts first and then looks whether it may, and who
 * bars the way does so first and then looks whether somebody is inside. */
static struct slot slots[NSLOTS];
static atomic_int barred;
/* Relaxed: it changes in a child, where there is one thread. */
static atomic_uint forks;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_bool ready;

static struct slot *slot_of(const void *user)
{
	uintptr_t place = (uintptr_t)user;

	return &slots[(place >> 6 ^ place >> 12) % NSLOTS];
}

static void take_a_nap(void)
{
	const struct timespec nap = {.tv_nsec = 50000};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
}

static void wait_for_those_inside(void)
{
	int64_t until_ms = stt_now_ms() + WAITS_MAX_MS;

	for (int i = 0; i < NSLOTS; i++) {
		while (atomic_load(&slots[i].inside) && stt_now_ms() < until_ms)
			take_a_nap();
	}
}

static void forbid(void)
{
	atomic_fetch_or(&barred, CLEANED_UP);
	wait_for_those_inside();
}

static void begin_fork(void)
{
	atomic_fetch_add(&barred, A_FORK);
	wait_for_those_inside();
}

static void end_fork(void)
{
	atomic_fetch_sub(&barred, A_FORK);
}

/* Of all threads that were forking, or inside, it has the one. Those that were waited for in vain,
 * or were just stepping back, would be waited for at each fork of its own, and at its exit. */
static void end_fork_in_child(void)
{
	for (int i = 0; i < NSLOTS; i++)
		atomic_store(&slots[i].inside, 0);
	atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
	atomic_fetch_and(&barred, CLEANED_UP);
}

static void begin(void)
{
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) != 1 ||
	    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
		return;
	if (OPENSSL_atexit(forbid) != 1 ||
	    pthread_atfork(begin_fork, end_fork, end_fork_in_child) != 0)
		return;
	atomic_store(&ready, true);
}

bool stt_tls_begin(void)
{
	pthread_once(&once, begin);
	return atomic_load(&ready) && !(atomic_load(&barred) & CLEANED_UP);
}

/* The way was barred when this thread had counted itself: steps back until the forks are over, and
 * is inside, or finds that OpenSSL has been cleaned up. */
static bool enter_later(atomic_int *inside)
{
	int now;

	while ((now = atomic_load(&barred))) {
		atomic_fetch_sub(inside, 1);
		if (now & CLEANED_UP)
			return false;
		while (atomic_load(&barred) & ~CLEANED_UP)
			take_a_nap();
		atomic_fetch_add(inside, 1);
	}
	return true;
}

bool stt_tls_enter(struct stt_visit *visit, const void *user)
{
	atomic_int *inside = &slot_of(user)->inside;

	atomic_fetch_add(inside, 1);
	if (atomic_load(&barred) && !enter_later(inside))
		return false;
	*visit = (struct stt_visit){user, stt_errors_hide(), errno,
				    atomic_load_explicit(&forks, memory_order_relaxed)};
	errno = 0;
	return true;
}

/* One from before a fork does not count in the child. */
static void count_out(const struct stt_visit *visit)
{
	if (visit->forks == atomic_load_explicit(&forks, memory_order_relaxed))
		atomic_fetch_sub(&slot_of(visit->user)->inside, 1);
}

void stt_tls_leave(struct stt_visit *visit)
{
	stt_errors_show(visit->errors);
	errno = visit->number;
	count_out(visit);
}

void stt_tls_leave_well(struct stt_visit *visit)
{
	if (visit->errors)
		stt_errors_show(visit->errors);
	errno = visit->number;
	count_out(visit);
}

void stt_tls_leave_to_the_end(struct stt_tls_left *left)
{
	static struct stt_tls_left *_Atomic all;

	left->next = atomic_load(&all);
	while (!atomic_compare_exchange_weak(&all, &left->next, left))
		;
}

void stt_tls_end(void)
{
	struct stt_visit visit;

	if (!atomic_load(&ready) || !stt_tls_enter(&visit, &once))
		return;
	stt_trust_forget();
	stt_tls_leave(&visit);
}
