/* SPDX-License-Identifier: MIT */
/* Random waits below a bound that doubles. */
#include "group/backoff.h"

void stt_backoff_begin(struct stt_backoff *backoff)
{
	backoff->bound_ms = backoff->first_ms;
	backoff->tries = 0;
}

/* How long a connection has to be open before the next wait is a short one again. A server that
 * accepts and ends each connection at once is as good as gone. Without a largest bound it is the
 * present one: otherwise the waits would never become short again. */
static int64_t proof_ms(const struct stt_backoff *backoff)
{
	return backoff->most_ms < 0 ? backoff->bound_ms : backoff->most_ms;
}

void stt_backoff_note_lost(struct stt_backoff *backoff, int64_t open_ms)
{
	backoff->tries = 0;
	if (open_ms >= proof_ms(backoff))
		backoff->bound_ms = backoff->first_ms;
}

bool stt_backoff_try(struct stt_backoff *backoff)
{
	if (backoff->first_ms < 0 ||
	    (backoff->most_tries >= 0 && backoff->tries >= backoff->most_tries))
		return false;
	/* Kept where it is not needed, without end. */
	if (backoff->tries < INT32_MAX)
		backoff->tries++;
	return true;
}

/* splitmix64. */
static uint64_t next_number(struct stt_backoff *backoff)
{
	uint64_t number = backoff->state += 0x9e3779b97f4a7c15U;

	number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9U;
	number = (number ^ (number >> 27)) * 0x94d049bb133111ebU;
	return number ^ (number >> 31);
}

static int doubled(const struct stt_backoff *backoff)
{
	int64_t most_ms = backoff->most_ms < 0 ? INT32_MAX : backoff->most_ms;
	int64_t twice_ms = 2 * (int64_t)backoff->bound_ms;

	return (int)(twice_ms < most_ms ? twice_ms : most_ms);
}

int stt_backoff_wait(struct stt_backoff *backoff)
{
	/* The upper half of the number as a fraction of the bound, which is one of its values. */
	uint64_t fraction = next_number(backoff) >> 32;
	uint64_t wait_ms = fraction * ((uint64_t)backoff->bound_ms + 1) >> 32;

	backoff->bound_ms = doubled(backoff);
	return (int)wait_ms;
}
