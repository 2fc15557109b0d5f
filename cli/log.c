/* SPDX-License-Identifier: MIT */
/*
 * The library's log goes through say(): a peer has a hand in some of it.
 */
#include "log.h"

#include "cli.h"
#include "say.h"

#include <stdbool.h>
#include <stdlib.h>

static int chosen = -1;
static _Thread_local bool starts;

static void tell(int level, const char *text, void *context)
{
	static const char *const names[] = {"", "error: ", "warning: ", "info: ", "trace: "};

	(void)context;
	if (starts && level == 1)
		return;
	say("%s%s", names[level >= 0 && level <= 4 ? level : 0], text);
}

void log_set_level(int level)
{
	chosen = level;
}

void log_leave_start(bool now)
{
	starts = now;
}

void log_start(void)
{
	const char *from = getenv("STTCP_LOG");
	int level = chosen >= 0 ? chosen : from && *from ? atoi(from) : 2;

	sttcp_log_level(level < 0 ? 0 : level > 4 ? 4 : level);
	sttcp_set_log(level > 0 ? tell : NULL, NULL);
}
