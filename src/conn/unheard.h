/* SPDX-License-Identifier: MIT */
/*
 * A peer that the kernel does not hear while its input is unread.
 *
 * RFC 9293 (3.10.7.4) wants acknowledgements to be taken whatever the window is.
 * From 6.17 on Linux drops a segment that goes beyond it as a whole, as long as
 * input is unread (its commit 9ca48d616ed7). A peer goes beyond it by no fault of
 * its own: where memory for what it sends ends before the window that it was told
 * of does, the kernel takes that back. Then the peer reads all that it gets and its
 * acknowledgements are dropped, so output stands still on this side; and a reader
 * that waits for its output to leave, or that a program has paused until then,
 * leaves its input unread. Nothing but reading ends that.
 *
 * So where output stands still and the peer seems not to answer, the loop asks the
 * owner to read some of the input into memory (read_ahead.h), as often as that goes
 * on. The same helps where TLS waits for the rest of a message of its own before it
 * sends anything.
 */
#ifndef STT_CONN_UNHEARD_H
#define STT_CONN_UNHEARD_H

#include <stdbool.h>
#include <stdint.h>

#include "conn/output.h"

/* When the loop has to look first, if no byte leaves until then, or STT_NEVER. */
int64_t stt_unheard_at_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* The look: returns when the next one is due, or STT_NEVER. Sets `asks` if the owner is to be asked
 * for a read: AHEAD is set for that (hold.h). By the loop. */
int64_t stt_unheard_look_locked(struct stt_output *out, int64_t now_ms, bool *asks)
	STT_REQUIRES(out->lock);

#endif
