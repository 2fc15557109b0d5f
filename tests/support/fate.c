/* SPDX-License-Identifier: MIT */
/* The fates of tasks. */
#include "support/fate.h"

struct fate *fate_new(void)
{
	struct fate fresh = {EVENT_INIT, EVENT_INIT};
	struct fate *fate = malloc(sizeof(*fate));

	assert_non_null(fate);
	*fate = fresh;
	return fate;
}

void note_run(sttcp_conn *conn, void *argument)
{
	struct fate *fate = argument;

	(void)conn;
	event_raise(&fate->ran);
}

void note_freed(void *argument)
{
	struct fate *fate = argument;

	event_raise(&fate->freed);
}
