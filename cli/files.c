/* SPDX-License-Identifier: MIT */
/*
 * The limit on open files.
 */
#include "files.h"

#include "say.h"

#include <sys/resource.h>

enum {
	OTHERS = 64
}; /* the library's, and what was open before */

static struct rlimit before;

void files_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	if (before.rlim_max == 0)
		before = limit;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void files_restore_limit(void)
{
	if (before.rlim_max > 0)
		setrlimit(RLIMIT_NOFILE, &before);
}

bool files_allow(int nconns, int each)
{
	struct rlimit limit;

	files_raise_limit();
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	    (rlim_t)nconns * (rlim_t)each + OTHERS <= limit.rlim_cur)
		return true;
	fail(0, "%d connections need %lld files, and at most %llu may be open: see 'ulimit -Hn'",
	     nconns, (long long)nconns * each + OTHERS, (unsigned long long)limit.rlim_cur);
	return false;
}
