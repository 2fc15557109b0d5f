/* SPDX-License-Identifier: MIT */
/* What becomes of the tasks of a connection that carry a fate: how often they ran and were freed.
 */
#ifndef STT_TEST_FATE_H
#define STT_TEST_FATE_H

#include "support/support.h"

struct fate {
	struct event ran;
	struct event freed;
};

/* To be freed with free(3). */
struct fate *fate_new(void);

/* The function of a task, and its free_fn. */
void note_run(sttcp_conn *conn, void *argument);
void note_freed(void *argument);

#endif
