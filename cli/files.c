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

void files_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

bool files_allow(int nconns)
{
	struct rlimit limit;

	files_raise_limit();
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	    (rlim_t)nconns + OTHERS <= limit.rlim_cur)
		return true;
	fail(0,
	     "%d connections are more than the limit on open files allows, which is %llu: see "
	     "'ulimit -Hn'",
	     nconns, (unsigned long long)limit.rlim_cur);
	return false;
}
