/* SPDX-License-Identifier: MIT */
/*
 * The queue of outgoing bytes. What keeps its memory close to its bytes: small
 * copies fill up the last chunk; large ones are cut into pieces, as shared
 * buffers are, so that a few bytes that are left hold back one piece and not a
 * megabyte; and a chunk that is not full is cut to its size before something
 * that is not copied follows it.
 */
#include "base/bytes.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/slabs.h"

enum {
	/* Room for the bytes of a chunk that is not made for a large copy: with the fields it fills
	 * a page. */
	CHUNK_ROOM = 4048,
	/* A piece of a large copy or of a shared buffer, likewise: 64 of them, which one system
	 * call takes, are a megabyte. */
	PIECE = 16 * 1024 - 64,
	WORD_BITS = 64,
	MAP_WORDS = (CHUNK_ROOM + WORD_BITS - 1) / WORD_BITS
};

struct stt_chunk {
	struct stt_chunk *next;
	struct stt_shared *shared; /* or NULL: the bytes stand behind this struct */
	uint64_t *map;		   /* a bit for each byte that is own; NULL: all are alike */
	unsigned start;
	unsigned end;
	unsigned room;
	bool own;    /* without a map: what all are */
	bool mapped; /* its memory is a block of `small` or `large`, as its room tells */
	unsigned char copies[];
};

/* A connection whose peer does not read has a megabyte of them. */
static struct stt_slabs small = STT_SLABS_INIT(sizeof(struct stt_chunk) + CHUNK_ROOM,
					       STT_SLABS_OF_SMALL_CHUNKS, STT_KEEPS_FEW);
/* Bulk output fills and empties a short queue all the time, and a fifth of its time went to page
 * faults (`tls-out` of the benchmark). */
static struct stt_slabs large =
	STT_SLABS_INIT(sizeof(struct stt_chunk) + PIECE, STT_SLABS_OF_LARGE_CHUNKS, STT_KEEPS_MANY);

/* ------------------------------------------------------------ shared buffers */

/* Copies `size` bytes from `*skip` of the first part on, and moves both behind them. */
static void take_from(const struct iovec **parts, size_t *skip, unsigned char *to, size_t size)
{
	while (size) {
		size_t left = (*parts)->iov_len - *skip;
		size_t part = left < size ? left : size;

		if (part)
			memcpy(to, (const unsigned char *)(*parts)->iov_base + *skip, part);
		to += part;
		size -= part;
		*skip += part;
		if (part == left) {
			++*parts;
			*skip = 0;
		}
	}
}

struct stt_shared *stt_shared_join(const struct iovec *parts, size_t size)
{
	struct stt_shared *first = NULL;
	struct stt_shared **link = &first;
	size_t skip = 0;

	for (size_t at = 0; at < size || !first; at += PIECE) {
		size_t part = size - at < PIECE ? size - at : PIECE;
		struct stt_shared *piece = malloc(sizeof(*piece) + part);

		if (!piece) {
			stt_shared_unref(first);
			return NULL;
		}
		piece->next = NULL;
		piece->size = (unsigned)part;
		atomic_init(&piece->refs, 1);
		take_from(&parts, &skip, piece->bytes, part);
		*link = piece;
		link = &piece->next;
	}
	return first;
}

struct stt_shared *stt_shared_new(const void *data, size_t size)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

	return stt_shared_join(&part, size);
}

static void unref_piece(struct stt_shared *piece)
{
	/* acq_rel: whoever frees it has seen the last reads of all the others. */
	if (atomic_fetch_sub_explicit(&piece->refs, 1, memory_order_acq_rel) == 1)
		free(piece);
}

void stt_shared_unref(struct stt_shared *shared)
{
	while (shared) {
		struct stt_shared *next = shared->next;

		unref_piece(shared);
		shared = next;
	}
}

/* ------------------------------------------------------------------- chunks */

/* The slabs for chunks with so much room, or NULL for malloc. */
static struct stt_slabs *slabs_for(size_t room)
{
	return room == CHUNK_ROOM ? &small : room == PIECE ? &large : NULL;
}

static struct stt_chunk *new_chunk(size_t room, bool own)
{
	struct stt_slabs *slabs = slabs_for(room);
	struct stt_chunk *chunk = slabs ? stt_slabs_take(slabs) : malloc(sizeof(*chunk) + room);

	if (chunk)
		*chunk = (struct stt_chunk){.room = (unsigned)room, .own = own, .mapped = slabs};
	return chunk;
}

static void free_memory(struct stt_chunk *chunk)
{
	if (chunk->mapped)
		stt_slabs_give(slabs_for(chunk->room), chunk);
	else
		free(chunk);
}

static void free_chunk(struct stt_chunk *chunk)
{
	if (chunk->shared)
		unref_piece(chunk->shared);
	free(chunk->map);
	free_memory(chunk);
}

static void free_chain(struct stt_chunk *chunk)
{
	while (chunk) {
		struct stt_chunk *next = chunk->next;

		free_chunk(chunk);
		chunk = next;
	}
}

static const unsigned char *bytes_of(const struct stt_chunk *chunk)
{
	return chunk->shared ? chunk->shared->bytes : chunk->copies;
}

static struct stt_chunk *last_of(const struct stt_bytes *bytes)
{
	return bytes->head ? *bytes->last : NULL;
}

/* Appends a chain of chunks. */
static void link_chain(struct stt_bytes *bytes, struct stt_chunk *chain)
{
	struct stt_chunk **link = bytes->head ? &last_of(bytes)->next : &bytes->head;

	if (!chain)
		return;
	*link = chain;
	while ((*link)->next)
		link = &(*link)->next;
	bytes->last = link;
}

/* ------------------------------------------------------------- whose they are */

/* The bits from `from` on, and fewer than `count` words away those before `to`. */
static uint64_t mask(unsigned word, unsigned from, unsigned to)
{
	uint64_t bits = UINT64_MAX;

	if (from > word * WORD_BITS)
		bits <<= from - word * WORD_BITS;
	if (to < (word + 1) * WORD_BITS)
		bits &= UINT64_MAX >> ((word + 1) * WORD_BITS - to);
	return bits;
}

static void mark_own(uint64_t *map, unsigned from, unsigned to)
{
	for (unsigned word = from / WORD_BITS; word * WORD_BITS < to; word++)
		map[word] |= mask(word, from, to);
}

static size_t count_own(const struct stt_chunk *chunk, unsigned from, unsigned to)
{
	size_t count = 0;

	if (!chunk->map)
		return chunk->own ? to - from : 0;
	for (unsigned word = from / WORD_BITS; word * WORD_BITS < to; word++)
		count += (size_t)__builtin_popcountll(chunk->map[word] & mask(word, from, to));
	return count;
}

/* Before bytes of the other kind are copied into a chunk. */
static int make_map(struct stt_chunk *chunk)
{
	chunk->map = calloc(MAP_WORDS, sizeof(*chunk->map));
	if (!chunk->map)
		return -ENOMEM;
	if (chunk->own)
		mark_own(chunk->map, chunk->start, chunk->end);
	return 0;
}

/* ------------------------------------------------------------------- appending */

/* Chunks for copies of `size` bytes, empty as yet. */
static int make_room(struct stt_chunk **chain, size_t size, bool own)
{
	*chain = NULL;
	for (struct stt_chunk **link = chain; size; link = &(*link)->next) {
		size_t room = size < PIECE ? CHUNK_ROOM : PIECE;

		*link = new_chunk(room, own);
		if (!*link) {
			free_chain(*chain);
			return -ENOMEM;
		}
		size -= size < room ? size : room;
	}
	return 0;
}

static size_t room_in(const struct stt_chunk *chunk)
{
	return chunk && !chunk->shared ? chunk->room - chunk->end : 0;
}

/* Copies a part to where there is room, from `chunk` on; returns the chunk that came last. */
static struct stt_chunk *fill(struct stt_chunk *chunk, const struct iovec *part, bool own)
{
	const unsigned char *data = part->iov_base;
	size_t size = part->iov_len;

	while (size) {
		size_t now = room_in(chunk) < size ? room_in(chunk) : size;

		if (!now) {
			chunk = chunk->next;
			continue;
		}
		memcpy(chunk->copies + chunk->end, data, now);
		if (own && chunk->map)
			mark_own(chunk->map, chunk->end, chunk->end + (unsigned)now);
		chunk->end += (unsigned)now;
		data += now;
		size -= now;
	}
	return chunk;
}

/* The parts go behind what the chunk has, and are all of its kind. */
static void copy_parts(struct stt_chunk *chunk, const struct iovec *parts, int count)
{
	unsigned char *place = chunk->copies + chunk->end;

	for (int i = 0; i < count; i++) {
		/* An empty one may be NULL, which memcpy must not get. */
		if (parts[i].iov_len)
			memcpy(place, parts[i].iov_base, parts[i].iov_len);
		place += parts[i].iov_len;
	}
	chunk->end = (unsigned)(place - chunk->copies);
}

static int append_anyhow(struct stt_bytes *bytes, const struct iovec *parts, int count, size_t size,
			 bool own)
{
	struct stt_chunk *at = last_of(bytes);
	size_t fits = room_in(at);

	if (fits && !at->map && at->own != own && make_map(at) < 0)
		return -ENOMEM;
	/* All memory first: a failure must not leave half of it behind. */
	if (fits < size) {
		struct stt_chunk *chain;

		if (make_room(&chain, size - fits, own) < 0)
			return -ENOMEM;
		link_chain(bytes, chain);
		if (!fits)
			at = chain;
	}
	for (int i = 0; i < count; i++)
		at = fill(at, &parts[i], own);
	return 0;
}

int stt_bytes_append_parts(struct stt_bytes *bytes, const struct iovec *parts, int count,
			   size_t size, bool own)
{
	struct stt_chunk *at = last_of(bytes);

	/* Most often they fit. With a way of its own for that a small answer takes 0.91 of the
	 * instructions (`lines` of the benchmark). */
	if (size <= room_in(at) && !at->map && at->own == own) {
		copy_parts(at, parts, count);
	} else {
		int result = append_anyhow(bytes, parts, count, size, own);

		if (result < 0)
			return result;
	}
	bytes->size += size;
	bytes->own += own ? size : 0;
	return 0;
}

int stt_bytes_append(struct stt_bytes *bytes, const void *data, size_t size, bool own)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

	return size ? stt_bytes_append_parts(bytes, &part, 1, size, own) : 0;
}

/* Nothing is copied into the last chunk any more: what it does not use goes back. */
static void trim_last(struct stt_bytes *bytes)
{
	struct stt_chunk *last = last_of(bytes);

	if (!room_in(last))
		return;

	struct stt_chunk *smaller = malloc(sizeof(*last) + last->end);

	if (!smaller)
		return;
	memcpy(smaller, last, sizeof(*last) + last->end);
	smaller->room = smaller->end;
	smaller->mapped = false;
	free_memory(last);
	*bytes->last = smaller;
}

static struct stt_chunk *refer_to(struct stt_shared *piece, size_t offset, bool own)
{
	struct stt_chunk *chunk = new_chunk(0, own);

	if (!chunk)
		return NULL;
	atomic_fetch_add_explicit(&piece->refs, 1, memory_order_relaxed);
	chunk->shared = piece;
	chunk->start = (unsigned)offset;
	chunk->end = piece->size;
	return chunk;
}

/* The last piece may be small, and is copied then. */
static struct stt_chunk *take_piece(struct stt_shared *piece, size_t offset, bool own)
{
	struct iovec part = {.iov_base = piece->bytes + offset, .iov_len = piece->size - offset};
	struct stt_chunk *chunk = NULL;

	if (part.iov_len >= STT_SHARE_FROM)
		return refer_to(piece, offset, own);
	if (make_room(&chunk, part.iov_len, own) == 0 && chunk)
		fill(chunk, &part, own);
	return chunk;
}

int stt_bytes_append_shared(struct stt_bytes *bytes, struct stt_shared *shared, size_t offset,
			    size_t size, bool own)
{
	struct stt_chunk *chain = NULL;
	struct stt_chunk **link = &chain;
	struct stt_shared *piece = shared;

	for (; offset >= piece->size && piece->next; piece = piece->next)
		offset -= piece->size;
	for (; piece && size; piece = piece->next) {
		*link = take_piece(piece, offset, own);
		if (!*link) {
			free_chain(chain);
			return -ENOMEM;
		}
		while (*link)
			link = &(*link)->next;
		offset = 0;
	}
	trim_last(bytes);
	link_chain(bytes, chain);
	bytes->size += size;
	bytes->own += own ? size : 0;
	return 0;
}

/* --------------------------------------------------------------------- leaving */

int stt_bytes_peek(const struct stt_bytes *bytes, struct iovec *parts, int max, size_t most)
{
	int count = 0;

	for (struct stt_chunk *chunk = bytes->head; chunk && most && count < max;
	     chunk = chunk->next) {
		size_t size = chunk->end - chunk->start;

		if (size > most)
			size = most;
		parts[count++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)(bytes_of(chunk) + chunk->start),
			.iov_len = size,
		};
		most -= size;
	}
	return count;
}

static void drop_first(struct stt_bytes *bytes)
{
	struct stt_chunk *chunk = bytes->head;

	/* What pointed to the second one is the chunk that goes. */
	if (bytes->last == &chunk->next)
		bytes->last = &bytes->head;
	bytes->head = chunk->next;
	free_chunk(chunk);
}

void stt_bytes_consume(struct stt_bytes *bytes, size_t size)
{
	bytes->size -= size;
	while (size) {
		struct stt_chunk *head = bytes->head;
		size_t first = head->end - head->start;
		size_t now = size < first ? size : first;

		bytes->own -= count_own(head, head->start, head->start + (unsigned)now);
		head->start += (unsigned)now;
		size -= now;
		if (now == first)
			drop_first(bytes);
	}
}

void stt_bytes_clear(struct stt_bytes *bytes)
{
	while (bytes->head)
		drop_first(bytes);
	bytes->size = 0;
	bytes->own = 0;
}
