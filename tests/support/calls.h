/* SPDX-License-Identifier: MIT */
/* What the tests of timers share: the context of a timer, which notes the calls of its function. */
#ifndef STT_TEST_CALLS_H
#define STT_TEST_CALLS_H

#include "support/support.h"

struct calls {
	atomic_int count;
	atomic_int inside; /* now */
	atomic_int beside; /* others that a call found inside, at most */
	struct event came;
	struct event gate; /* the call with the number n waits for n of them: see block */
	int64_t at_ms[64];
	atomic_int result; /* of what the function did */
	sttcp_timer *other;
};

struct calls *calls_new(void);
sttcp_timer *calls_timer(struct calls *calls, void (*fn)(sttcp_timer *timer, void *context));

/* Functions of timers. */
void note(sttcp_timer *timer, void *context);
void block(sttcp_timer *timer, void *context);

/* Whether all that was given to the library comes to its end, and then the library does. */
bool engine_ends(void);

#endif
