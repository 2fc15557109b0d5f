/* SPDX-License-Identifier: MIT */
/*
 * A queue of bytes on their way out: chunks that are either copies or parts of a
 * buffer that several queues share. Each byte is somebody's own or foreign,
 * which is counted exactly. The caller locks.
 *
 * What a queue takes of memory is bounded by its bytes: at most 8/7 of them
 * where own and foreign bytes alternate, 1.03 elsewhere, and 24 KiB.
 */
#ifndef STT_BASE_BYTES_H
#define STT_BASE_BYTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* From so many bytes on a shared buffer is worth its chunks; less is copied. */
enum {
	STT_SHARE_FROM = 4096
};

/* Bytes that many queues refer to: pieces, each counted, never changed. One queue's last byte keeps
 * no more than its piece. */
struct stt_shared {
	struct stt_shared *next;
	atomic_int refs;
	unsigned size;
	unsigned char bytes[];
};

/* A copy of `size` bytes with one reference, or NULL. */
struct stt_shared *stt_shared_new(const void *data, size_t size);
/* The same of several parts, which have `size` bytes altogether. */
struct stt_shared *stt_shared_join(const struct iovec *parts, size_t size);
void stt_shared_unref(struct stt_shared *shared); /* NULL is fine */

struct stt_chunk;

struct stt_bytes {
	struct stt_chunk *head;
	struct stt_chunk **last; /* what points to the last chunk; not set while there is none */
	size_t size;
	size_t own; /* of these */
};

static inline bool stt_bytes_empty(const struct stt_bytes *bytes)
{
	return bytes->size == 0;
}

/* Appends a copy. 0, or -ENOMEM and nothing was taken. */
int stt_bytes_append(struct stt_bytes *bytes, const void *data, size_t size, bool own);

/* Appends copies of several parts, `size` bytes altogether and not 0: 0, or -ENOMEM and nothing was
 * taken. */
int stt_bytes_append_parts(struct stt_bytes *bytes, const struct iovec *parts, int count,
			   size_t size, bool own);

/* Appends `size` bytes from `offset` of a shared buffer on, to its end; takes references of its
 * own. 0, or -ENOMEM and nothing was taken. */
int stt_bytes_append_shared(struct stt_bytes *bytes, struct stt_shared *shared, size_t offset,
			    size_t size, bool own);

/* Fills up to `max` parts with what stands first, `most` bytes at most; returns how many. */
int stt_bytes_peek(const struct stt_bytes *bytes, struct iovec *parts, int max, size_t most);

/* Drops the first `size` bytes; there are at least as many. */
void stt_bytes_consume(struct stt_bytes *bytes, size_t size);

void stt_bytes_clear(struct stt_bytes *bytes);

#endif
