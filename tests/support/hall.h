/* SPDX-License-Identifier: MIT */
/* Handlers that were told to block say so in a hall, and wait for its gate; and how to know that no
 * thread is left. */
#ifndef STT_TEST_HALL_H
#define STT_TEST_HALL_H

#include "support/support.h"

struct hall {
	struct event inside;
	struct event gate;
};

void hall_init(struct hall *hall);
void hall_stay(struct hall *hall);

/* Raises the event when the library tells that it is at max_threads, which it does once. */
void hall_note_cap(struct event *at_cap);

#endif
