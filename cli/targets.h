/* SPDX-License-Identifier: MIT */
/*
 * Where a relay may go to: in turn, or where the fewest connections are; one
 * that could not be reached is passed over for a while.
 */
#ifndef CLI_TARGETS_H
#define CLI_TARGETS_H

#include "options.h"

enum {
	MAX_TARGETS = 64
};

/* Ends the program where a word is no address. `rest_ms`: how long one is passed over. */
void targets_set(char **words, int count, bool fewest, int rest_ms);

/* One that is not in the set `tried` (bits by number), and counts a connection there; one that is
 * passed over only where there is no other. -1: all were tried. Any thread. */
int targets_take(uint64_t tried);
/* That connection has ended. */
void targets_drop(int target);

/* It could not be reached. Returns whether that is news. */
bool targets_fail(int target);
void targets_reached(int target);

const struct address *targets_address(int target);
const char *targets_text(int target); /* as it was given */

/* Whether TLS can be spoken to all of them, if the options ask for it. False: why not is told. */
bool targets_allow(const sttcp_options *options);

#endif
