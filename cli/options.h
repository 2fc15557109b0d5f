/* SPDX-License-Identifier: MIT */
/*
 * The command line: options that several verbs have, and how words are read.
 * All that is wrong ends the program with a sentence and STATUS_USAGE.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli.h"

/* Parses what follows the verb, and runs it. Returns the exit status. */
int options_run(const struct verb *verb, int argc, char **argv);

/* Own options have keys from here on; those below are the common ones'. */
enum {
	KEY_OWN = 0x200
};

int64_t read_number(struct argp_state *state, const char *what, const char *text, int64_t least,
		    int64_t most);
/* "64", "16k", "1M", "4G": powers of 1024. */
int64_t read_size(struct argp_state *state, const char *what, const char *text, int64_t least,
		  int64_t most);
/* "30", "1.5", "200ms", "5m", "1h" as milliseconds, at least 1. */
int read_time_ms(struct argp_state *state, const char *what, const char *text);
/* The same, or 0. */
int read_wait_ms(struct argp_state *state, const char *what, const char *text);

struct address {
	char host[256];
	int port;
};

/* "[HOST:]PORT", "[::1]:80", "unix:/path". Without a host it is "". Ends the program where it is
 * none, or where a port of 0 is not allowed. */
struct address read_address(const char *text, bool listens);

/* The bytes of text with \n, \r, \t, \0, \\ and \xNN in it, in place; returns how many. Ends the
 * program where an escape is none. */
size_t read_escapes(struct argp_state *state, const char *what, char *text);

/* Sets the framing in `options` from "line", "length:4" and the like. */
void read_framing(struct argp_state *state, char *text, sttcp_options *options);
/* NULL, or why the library would not send this as a message. */
const char *why_no_message(const sttcp_options *options, const char *data, size_t size);
/* Back to raw. */
void drop_framing(sttcp_options *options);

#endif
