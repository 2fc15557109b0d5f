/* SPDX-License-Identifier: MIT */
/*
 * Finds messages in a copy of what passes. The bytes themselves go on unchanged,
 * whole or not, well-formed or not, which the library's own framing would not do.
 */
#ifndef CLI_SPLITTER_H
#define CLI_SPLITTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sttcp.h>

typedef void (*splitter_fn)(const void *payload, size_t size, const char *note, void *argument);

struct splitter {
	const sttcp_options *framing;
	char *buffer; /* what has not come to its end */
	size_t size, cap;
	bool gave_up; /* malformed: from here on as it comes */
};

/* Calls `fn` for each message, without what frames it. `note` is NULL, or what is wrong with it. */
void splitter_feed(struct splitter *splitter, const void *data, size_t size, splitter_fn fn,
		   void *argument);
/* No more will come. */
void splitter_end(struct splitter *splitter, splitter_fn fn, void *argument);
void splitter_free(struct splitter *splitter);

#endif
