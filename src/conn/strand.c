/* SPDX-License-Identifier: MIT */
/* What runs on a strand's own stack, and so may be on another thread behind each of these calls. */
#include "conn/strand.h"

#include "base/log.h"

enum {
	/* A call's share, before the others on the loop have theirs: as in read.c. */
	READS_PER_TURN = 16,
	MESSAGES_PER_TURN = 256
};

struct stt_strand *stt_strand_here(void)
{
	if (!stt_self || stt_desk_self()->stays || stt_log_is_inside())
		return NULL;
	return stt_desk_self()->call.strand;
}

static bool leave(struct stt_strand *strand, enum stt_leaves why, unsigned wakes, int64_t until_ms)
{
	strand->leaves = (uint8_t)why;
	strand->wakes = wakes;
	strand->until_ms = until_ms;
	strand->stays = false;
	stt_fiber_leave(&strand->fiber);
	return !strand->stays;
}

STT_APART bool stt_strand_wait(struct stt_strand *strand, unsigned wakes, int64_t until_ms)
{
	return leave(strand, STT_LEAVES_TO_WAIT, wakes, until_ms);
}

STT_APART void stt_strand_spend(struct stt_strand *strand, int reads, int messages)
{
	strand->nreads = (uint8_t)(strand->nreads + reads);
	strand->nmessages = (uint16_t)(strand->nmessages + messages);
	if (strand->nreads <= READS_PER_TURN && strand->nmessages <= MESSAGES_PER_TURN)
		return;
	if (!stt_strand_here())
		return;
	stt_strand_yield(strand);
}

STT_APART void stt_strand_yield(struct stt_strand *strand)
{
	strand->nreads = 0;
	strand->nmessages = 0;
	leave(strand, STT_LEAVES_TO_YIELD, STT_WISH_WAKE, STT_NEVER);
}

STT_APART void stt_strand_gather(struct stt_strand *strand)
{
	if (strand->gathers)
		return;
	strand->leaves = STT_LEAVES_TO_GATHER;
	stt_fiber_leave(&strand->fiber);
}
