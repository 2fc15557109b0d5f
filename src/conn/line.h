/* SPDX-License-Identifier: MIT */
/*
 * The line of sends that wait for room in a queue. Each keeps its place until all
 * of its bytes have left its caller's memory, so that a send is one run of bytes.
 */
#ifndef STT_CONN_LINE_H
#define STT_CONN_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/mutex.h"
#include "conn/output.h"

/* Bytes of a caller that are still to be sent. */
struct stt_cursor {
	const struct iovec *parts;
	int count;
	size_t skip; /* of the first part */
	size_t left;
	bool own; /* sent by a handler of the connection itself */
};

struct stt_sender {
	struct stt_sender *next;
	struct stt_sender *last; /* of the line; only in its first */
	struct stt_cursor cursor;
	bool begun; /* some of it is queued or sent: it may not be given up alone */
	bool clear; /* it stood here when TLS began: counted in stt_secure.clear */
	/* Its call has been ended by force: until when it has, and what the output's limit was
	 * before. */
	int64_t until_ms, before_ms;
	bool done;
	int result;
	struct stt_cond wake;
	struct sttcp_conn *parked; /* whose call waits for it without a thread, or NULL */
};

void stt_cursor_skip(struct stt_cursor *cursor, size_t size);

/* Gives the stream `most` bytes at most. */
ssize_t stt_cursor_send_locked(struct stt_output *out, const struct stt_cursor *cursor, size_t most)
	STT_REQUIRES(out->lock);

/* Appends up to `size` bytes of what the cursor stands for to the queue: 0 or -ENOMEM. */
int stt_line_copy_locked(struct stt_output *out, struct stt_cursor *cursor, size_t size)
	STT_REQUIRES(out->lock);

/* Behind the others. It stays until all of its bytes are queued or it has failed. */
void stt_line_join_locked(struct stt_output *out, struct stt_sender *sender)
	STT_REQUIRES(out->lock);

/* Waits for that; the result is then in the sender. False once it is `until_ms`: it has to be
 * called again. */
bool stt_line_wait_locked(struct stt_output *out, struct stt_sender *sender, int64_t until_ms)
	STT_REQUIRES(out->lock);

/* Moves what there is room for from the line into the queue, `most` bytes at most: 0 or -ENOMEM. */
int stt_line_advance_locked(struct stt_output *out, size_t most) STT_REQUIRES(out->lock);

/* Sends one home with its result. */
void stt_line_finish_locked(struct stt_output *out, struct stt_sender *sender, int result)
	STT_REQUIRES(out->lock);

/* Sends of which nothing is queued yet return `code`. */
void stt_line_turn_away_locked(struct stt_output *out, int code) STT_REQUIRES(out->lock);

#endif
