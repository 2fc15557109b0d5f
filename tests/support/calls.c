/* SPDX-License-Identifier: MIT */
#include "support/calls.h"

struct calls *calls_new(void)
{
	struct calls *calls = calloc(1, sizeof(*calls));

	assert_non_null(calls);
	calls->came = (struct event)EVENT_INIT;
	calls->gate = (struct event)EVENT_INIT;
	return calls;
}

sttcp_timer *calls_timer(struct calls *calls, void (*fn)(sttcp_timer *timer, void *context))
{
	sttcp_timer *timer = sttcp_timer_new(fn, calls);

	assert_non_null(timer);
	return timer;
}

void note(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;
	int count = atomic_fetch_add(&calls->count, 1);

	(void)timer;
	if (count < 64)
		calls->at_ms[count] = now_ms();
	event_raise(&calls->came);
}

void block(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;
	int beside = atomic_fetch_add(&calls->inside, 1);

	if (beside > atomic_load(&calls->beside))
		atomic_store(&calls->beside, beside);
	note(timer, context);
	event_wait_ms(&calls->gate, atomic_load(&calls->count), 3 * DEADLINE_MS);
	atomic_fetch_sub(&calls->inside, 1);
}

bool engine_ends(void)
{
	for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until; nap_ms(1))
		if (sttcp_engine_shutdown() == 0)
			return true;
	return false;
}
