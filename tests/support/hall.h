/* SPDX-License-Identifier: MIT */
/* Handlers that were told to block say so in a hall, and wait for its gate. */
#ifndef STT_TEST_HALL_H
#define STT_TEST_HALL_H

#include "support/support.h"

struct hall {
	struct event inside;
	struct event gate;
};

void hall_init(struct hall *hall);
void hall_stay(struct hall *hall);

#endif
