/* SPDX-License-Identifier: MIT */
/*
 * How long a client waits before it tries to connect again, and how often: pure, without a clock
 * and without threads. The waits are random ("full jitter"), because the clients of a server that
 * has gone have all lost it at the same moment, and must not come back at the same moment.
 */
#ifndef STT_GROUP_BACKOFF_H
#define STT_GROUP_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

struct stt_backoff {
	/* Set before use. */
	int first_ms;	/* the first bound; -1: there is no second attempt */
	int most_ms;	/* the largest bound; -1: there is none */
	int most_tries; /* in a row; -1: without limit */
	uint64_t state; /* of the generator: any number, another one for each client */

	/* Changed by the functions below. */
	int bound_ms; /* of the next wait */
	int tries;    /* since it was last open */
};

/* A first attempt begins, which somebody has asked for. */
void stt_backoff_begin(struct stt_backoff *backoff);

/* A connection that was open for so long is lost. */
void stt_backoff_note_lost(struct stt_backoff *backoff, int64_t open_ms);

/* Counts one more try; false if there is none left. */
bool stt_backoff_try(struct stt_backoff *backoff);

/* How long to wait now: from 0 to the bound, which doubles for the next time. */
int stt_backoff_wait(struct stt_backoff *backoff);

#endif
