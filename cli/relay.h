/* SPDX-License-Identifier: MIT */
/*
 * Passes connections on to targets: what proxy and dump have in common. A slow
 * end slows down the other one, a FIN is passed on and leaves the other direction
 * open, and a loss on one side resets the other.
 */
#ifndef CLI_RELAY_H
#define CLI_RELAY_H

#include "cli.h"

#include <stdatomic.h>

/* A client's connection, and the one to its target. */
struct link {
	atomic_int refs;
	sttcp_conn *near;	   /* valid while there is a far end, and in its own handlers */
	_Atomic(sttcp_conn *) far; /* a reference, once it is connected */
	sttcp_options *options;	   /* of the far end */
	int64_t began_ns;
	atomic_int target;	/* the last one tried; -1: none */
	atomic_bool is_counted; /* as one of the target\'s */
	uint64_t tried;		/* targets, as bits */
	void *data;		/* the hooks' own */
};

enum {
	FROM_CLIENT,
	FROM_TARGET
};

/* Each may be NULL. All of a link come one after the other, but for those with `from`, which
 * come for both directions at the same time. */
struct relay_hooks {
	bool (*begun)(struct link *link);  /* there is a client; false: out of memory */
	void (*opened)(struct link *link); /* the target is there, too */
	void (*passed)(struct link *link, int from, const void *data, size_t size);
	void (*ended_input)(struct link *link, int from);
	/* No more comes from there, with or without a FIN. */
	void (*lost)(struct link *link, int from);
	/* Always the last but `freed`; `why` is a sentence, and `code` 0 where all went in order.
	 */
	void (*ended)(struct link *link, int code, const char *why);
	void (*freed)(struct link *link);
};

/* Serves until a signal comes. Returns the exit status. */
int relay_run(struct common *common, const char *address, const struct relay_hooks *hooks);

#endif
