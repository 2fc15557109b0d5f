/* SPDX-License-Identifier: MIT */
/*
 * The life of a server of the command: it starts, tells where it listens, waits
 * for a signal, drains, and tells how that went.
 */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include "cli.h"

#include <stddef.h>

enum {
	SENTENCE = 1024 /* the longest of the library's */
};

struct serving {
	/* Not NULL: what goes on after the server has stopped, such as far ends that still take
	 * their bytes; the program waits for them, too. */
	int (*left)(void);
	const char *leftovers; /* what that is, for people; NULL: not worth a line */
	/* Not NULL: nobody waits any longer, and `left` is above 0. */
	void (*abandon)(void);
	/* Not NULL: the stop begins. */
	void (*stopping)(sttcp_server *server);
	/* Not NULL: how long to wait (-1: without limit) before the next call of `tick`. */
	int (*wait_ms)(void);
	void (*tick)(void);
	bool quiet; /* the last report is not worth a word */
};

/* The server's object, with the options from `common` and the context NULL. Ends the program where
 * that fails. */
sttcp_server *serve_new(struct common *common, const char *address);

/* For results of sttcp_server_on_... and the like, which fail only by a mistake of ours. */
void must(int code);

/* sttcp_client_start, of whose failure sttcp_client_error is told by who calls it, and not by the
 * log as well. */
int start_client(sttcp_client *client);

/* Runs it until a signal comes or finish() is called, stops and frees it. Returns the exit status.
 */
int serve(const struct common *common, sttcp_server *server, const struct serving *serving);

/* The library's sentence about an end, with the names of our options for those of its own: one
 * that we do not have is left out. Into `buffer`, or as it is. */
const char *in_own_words(const char *text, char *buffer, size_t cap);

/* What is to be done about a failed attempt to connect, of which the library says `why`: "", or a
 * sentence that begins with "; ". */
const char *advice(int code, const char *why);

#endif
