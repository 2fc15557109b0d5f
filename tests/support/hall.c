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

static void note_cap(int level, const char *text, void *context)
{
	(void)level;
	if (strstr(text, "all threads are inside handlers"))
		event_raise(context);
}

void hall_note_cap(struct event *at_cap)
{
	sttcp_set_log(note_cap, at_cap);
}
