/* SPDX-License-Identifier: MIT */
#include "support/on_fibers.h"

#include <stdlib.h>

#include "conn/park.h"

bool on_fibers_wanted(void)
{
	const char *wanted = getenv("STTCP_TEST_FIBERS");

	return wanted && *wanted && *wanted != '0';
}

const sttcp_options *on_fibers(sttcp_options *copy, const sttcp_options *options)
{
	/* Options of another version are the test's own business. */
	if (!on_fibers_wanted() || (options && options->size != sizeof(*options)))
		return options;
	if (options)
		*copy = *options;
	else
		sttcp_options_init(copy, sizeof(*copy));
	copy->fibers = true;
	if (*getenv("STTCP_TEST_FIBERS") == '2')
		atomic_store(&stt_strands_change_threads, true);
	return copy;
}
