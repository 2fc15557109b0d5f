/* SPDX-License-Identifier: MIT */
/*
 * A queue of bytes on their way out: chunks that are either copies or parts of a
 * buffer that several queues share. The caller locks.
 */
#ifndef STT_BASE_BYTES_H
#define STT_BASE_BYTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* Bytes that many queues refer to: counted, never changed. */
struct stt_shared {
	atomic_int refs;
	unsigned char bytes[];
};

/* A copy of `size` bytes with one reference, or NULL. */
struct stt_shared *stt_shared_new(const void *data, size_t size);
void stt_shared_unref(struct stt_shared *shared); /* NULL is fine */

struct stt_chunk;

struct stt_bytes {
	struct stt_chunk *head;
	struct stt_chunk *tail;
	size_t size;
};

static inline bool stt_bytes_empty(const struct stt_bytes *bytes)
{
	return bytes->size == 0;
}

/* Appends a copy. 0, or -ENOMEM and nothing was taken. */
int stt_bytes_append(struct stt_bytes *bytes, const void *data, size_t size);

/* Appends copies of several parts, `size` bytes altogether and not 0: 0, or -ENOMEM and nothing was
 * taken. */
int stt_bytes_append_parts(struct stt_bytes *bytes, const struct iovec *parts, int count,
			   size_t size);

/* Appends what begins at `offset` of a shared buffer; takes a reference of its own. 0 or
 * -ENOMEM. */
int stt_bytes_append_shared(struct stt_bytes *bytes, struct stt_shared *shared, size_t offset,
			    size_t size);

/* Fills up to `max` parts with what stands first; returns how many. */
int stt_bytes_peek(const struct stt_bytes *bytes, struct iovec *parts, int max);

/* Drops the first `size` bytes; there are at least as many. */
void stt_bytes_consume(struct stt_bytes *bytes, size_t size);

void stt_bytes_clear(struct stt_bytes *bytes);

#endif
