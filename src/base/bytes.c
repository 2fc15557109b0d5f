/* SPDX-License-Identifier: MIT */
/* The queue of outgoing bytes: a list of chunks; small copies share one chunk, a large one gets a
 * chunk of its size. */
#include "base/bytes.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Room for the bytes of a chunk that is not made for one large copy: with malloc's header and the
 * fields a chunk fills a page. */
enum {
	CHUNK_ROOM = 4032
};

struct stt_chunk {
	struct stt_chunk *next;
	struct stt_shared *shared; /* or NULL: the bytes stand behind this struct */
	const unsigned char *bytes;
	size_t start;
	size_t end;
	size_t room;
	unsigned char copies[];
};

struct stt_shared *stt_shared_new(const void *data, size_t size)
{
	struct stt_shared *shared = malloc(sizeof(*shared) + size);

	if (!shared)
		return NULL;
	atomic_init(&shared->refs, 1);
	memcpy(shared->bytes, data, size);
	return shared;
}

void stt_shared_unref(struct stt_shared *shared)
{
	/* acq_rel: whoever frees it has seen the last reads of all the others. */
	if (shared && atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_acq_rel) == 1)
		free(shared);
}

static struct stt_chunk *add_chunk(struct stt_bytes *bytes, size_t room)
{
	struct stt_chunk *chunk = malloc(sizeof(*chunk) + room);

	if (!chunk)
		return NULL;
	*chunk = (struct stt_chunk){.bytes = chunk->copies, .room = room};
	if (bytes->tail)
		bytes->tail->next = chunk;
	else
		bytes->head = chunk;
	bytes->tail = chunk;
	return chunk;
}

int stt_bytes_append(struct stt_bytes *bytes, const void *data, size_t size)
{
	struct stt_chunk *last = bytes->tail;
	size_t fits = last && !last->shared ? last->room - last->end : 0;

	if (fits > size)
		fits = size;

	size_t rest = size - fits;

	/* The new chunk is made first: a failure must not leave half of it behind. */
	if (rest) {
		struct stt_chunk *chunk = add_chunk(bytes, rest > CHUNK_ROOM ? rest : CHUNK_ROOM);

		if (!chunk)
			return -ENOMEM;
		memcpy(chunk->copies, (const unsigned char *)data + fits, rest);
		chunk->end = rest;
	}
	if (fits) {
		memcpy(last->copies + last->end, data, fits);
		last->end += fits;
	}
	bytes->size += size;
	return 0;
}

int stt_bytes_append_parts(struct stt_bytes *bytes, const struct iovec *parts, int count,
			   size_t size)
{
	struct stt_chunk *last = bytes->tail;

	/* In one chunk: what is left of the last one is not worth a failure half way. */
	if (!last || last->shared || last->room - last->end < size)
		last = add_chunk(bytes, size > CHUNK_ROOM ? size : CHUNK_ROOM);
	if (!last)
		return -ENOMEM;
	for (int i = 0; i < count; i++) {
		if (parts[i].iov_len)
			memcpy(last->copies + last->end, parts[i].iov_base, parts[i].iov_len);
		last->end += parts[i].iov_len;
	}
	bytes->size += size;
	return 0;
}

int stt_bytes_append_shared(struct stt_bytes *bytes, struct stt_shared *shared, size_t offset,
			    size_t size)
{
	struct stt_chunk *chunk = add_chunk(bytes, 0);

	if (!chunk)
		return -ENOMEM;
	atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
	chunk->shared = shared;
	chunk->bytes = shared->bytes;
	chunk->start = offset;
	chunk->end = offset + size;
	bytes->size += size;
	return 0;
}

int stt_bytes_peek(const struct stt_bytes *bytes, struct iovec *parts, int max)
{
	int count = 0;

	for (struct stt_chunk *chunk = bytes->head; chunk && count < max; chunk = chunk->next)
		parts[count++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)(chunk->bytes + chunk->start),
			.iov_len = chunk->end - chunk->start,
		};
	return count;
}

static void drop_first(struct stt_bytes *bytes)
{
	struct stt_chunk *chunk = bytes->head;

	bytes->head = chunk->next;
	if (!bytes->head)
		bytes->tail = NULL;
	stt_shared_unref(chunk->shared);
	free(chunk);
}

void stt_bytes_consume(struct stt_bytes *bytes, size_t size)
{
	bytes->size -= size;
	while (size) {
		size_t first = bytes->head->end - bytes->head->start;

		if (size < first) {
			bytes->head->start += size;
			return;
		}
		size -= first;
		drop_first(bytes);
	}
}

void stt_bytes_clear(struct stt_bytes *bytes)
{
	while (bytes->head)
		drop_first(bytes);
	bytes->size = 0;
}
