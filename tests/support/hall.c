/* SPDX-License-Identifier: MIT */
/* Handlers that block until they are let go. */
#include "support/hall.h"

void hall_init(struct hall *hall)
{
	struct event fresh = EVENT_INIT;

	hall->inside = fresh;
	hall->gate = fresh;
}

void hall_stay(struct hall *hall)
{
	event_raise(&hall->inside);
	event_wait_ms(&hall->gate, 1, 3 * DEADLINE_MS);
}
