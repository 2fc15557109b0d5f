/* SPDX-License-Identifier: MIT */
/*
 * The library's log goes through say(): a peer has a hand in some of it.
 */
#include "log.h"

#include "cli.h"
#include "say.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	DEFAULT_LEVEL = 2 /* warnings */
};

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

int log_read_level(const char *text)
{
	static const char *const names[] = {"none", "error", "warning", "info", "trace"};

	for (int i = 0; i < 5; i++)
		if (!strcmp(text, names[i]) || (text[0] == '0' + i && !text[1]))
			return i;
	return -1;
}

static int level_from_environment(void)
{
	const char *text = getenv("STTCP_LOG");
	int level = text && *text ? log_read_level(text) : DEFAULT_LEVEL;

	if (level >= 0)
		return level;
	say("STTCP_LOG is '%s', and a level is 0 to 4: warnings are shown", text);
	return DEFAULT_LEVEL;
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
	int level = chosen >= 0 ? chosen : level_from_environment();

	sttcp_log_level(level);
	sttcp_set_log(level > 0 ? tell : NULL, NULL);
}
