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
 */
#include "tls/process.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "tls/errors.h"
#include "tls/trust.h"

enum {
	NSLOTS = 16,
	CACHE_LINE = 64,
	/* A key in a slow module may keep a handshake inside for longer; the process is exiting,
	 * and does not wait for it for ever. */
	WAITS_MAX = 20000
};

struct slot {
	_Alignas(CACHE_LINE) atomic_int inside;
};

/* Sequentially consistent, both: who enters counts first and then looks whether it may, and the
 * clean-up forbids first and then looks whether somebody is inside. */
static struct slot slots[NSLOTS];
static atomic_bool forbidden;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_bool ready;

static struct slot *slot_of(const void *user)
{
	uintptr_t place = (uintptr_t)user;

	return &slots[(place >> 6 ^ place >> 12) % NSLOTS];
}

static void forbid(void)
{
	const struct timespec nap = {.tv_nsec = 50000};
	int waits = 0;

	atomic_store(&forbidden, true);
	for (int i = 0; i < NSLOTS; i++) {
		while (atomic_load(&slots[i].inside) && waits++ < WAITS_MAX)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
	}
}

static void begin(void)
{
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) != 1 ||
	    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
		return;
	atomic_store(&ready, OPENSSL_atexit(forbid) == 1);
}

bool stt_tls_begin(void)
{
	pthread_once(&once, begin);
	return atomic_load(&ready) && !atomic_load(&forbidden);
}

bool stt_tls_enter(struct stt_visit *visit, const void *user)
{
	atomic_fetch_add(&slot_of(user)->inside, 1);
	if (atomic_load(&forbidden)) {
		atomic_fetch_sub(&slot_of(user)->inside, 1);
		return false;
	}
	*visit = (struct stt_visit){user, stt_errors_hide(), errno};
	errno = 0;
	return true;
}

void stt_tls_leave(struct stt_visit *visit)
{
	stt_errors_show(visit->errors);
	errno = visit->number;
	atomic_fetch_sub(&slot_of(visit->user)->inside, 1);
}

void stt_tls_leave_well(struct stt_visit *visit)
{
	if (visit->errors)
		stt_errors_show(visit->errors);
	errno = visit->number;
	atomic_fetch_sub(&slot_of(visit->user)->inside, 1);
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
