/* SPDX-License-Identifier: MIT */
/* G13: the queue of outgoing bytes: order, whose each byte is, and what it takes of memory. */
#include "base/bytes.h"

#include "support/memory_faults.h"
#include "support/support.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
	STEPS = 5000,
	MODEL = 1 << 20,
	LARGEST = 40000
};

/* The same queue, in the plainest way. */
struct model {
	unsigned char bytes[MODEL];
	bool own[MODEL];
	size_t from;
	size_t to;
};

static struct model model;

static size_t own_in_model(void)
{
	size_t count = 0;

	for (size_t i = model.from; i < model.to; i++)
		count += model.own[i];
	return count;
}

static void append_to_model(const unsigned char *data, size_t size, bool own)
{
	memcpy(model.bytes + model.to, data, size);
	memset(model.own + model.to, own, size);
	model.to += size;
}

static size_t some_size(uint32_t *state)
{
	switch (next_random(state) % 4) {
	case 0:
		return 1 + next_random(state) % 3;
	case 1:
		return 1 + next_random(state) % 300;
	case 2:
		return 1 + next_random(state) % 6000;
	default:
		return 1 + next_random(state) % LARGEST;
	}
}

static void append_some(struct stt_bytes *bytes, uint32_t *state)
{
	static unsigned char data[LARGEST];
	size_t size = some_size(state);
	size_t cut = next_random(state) % size;
	bool own = next_random(state) % 2;
	struct iovec parts[] = {{data, cut}, {data + cut, size - cut}};
	struct stt_shared *shared;

	if (model.to + size > MODEL)
		return;
	fill_pattern(data, size, *state);
	switch (next_random(state) % 3) {
	case 0:
		assert_int_equal(stt_bytes_append(bytes, data, size, own), 0);
		append_to_model(data, size, own);
		return;
	case 1:
		assert_int_equal(stt_bytes_append_parts(bytes, parts, 2, size, own), 0);
		append_to_model(data, size, own);
		return;
	default:
		shared = stt_shared_new(data, size);
		assert_non_null(shared);
		assert_int_equal(stt_bytes_append_shared(bytes, shared, cut, size - cut, own), 0);
		append_to_model(data + cut, size - cut, own);
		stt_shared_unref(shared);
	}
}

static void take_some(struct stt_bytes *bytes, uint32_t *state)
{
	struct iovec parts[8];
	size_t most = some_size(state);
	int count = stt_bytes_peek(bytes, parts, 8, most);
	size_t size = 0;

	for (int i = 0; i < count; i++) {
		assert_memory_equal(parts[i].iov_base, model.bytes + model.from + size,
				    parts[i].iov_len);
		size += parts[i].iov_len;
	}
	assert_in_range(count, 0, 8);
	assert_true(size <= most);
	assert_true(size > 0 || model.from == model.to);
	size -= size ? next_random(state) % size : 0;
	stt_bytes_consume(bytes, size);
	model.from += size;
}

static void queue_keeps_order_and_whose_each_byte_is(void **unused)
{
	struct stt_bytes bytes = {0};
	uint32_t state = test_seed();

	(void)unused;
	for (int i = 0; i < STEPS; i++) {
		if (next_random(&state) % 2)
			append_some(&bytes, &state);
		else
			take_some(&bytes, &state);
		assert_int_equal(bytes.size, model.to - model.from);
		if (i % 8 == 0)
			assert_int_equal(bytes.own, own_in_model());
		/* Now and then from the start, and empty. */
		if (model.to > MODEL - 2 * LARGEST) {
			if (i % 2)
				stt_bytes_clear(&bytes);
			else
				stt_bytes_consume(&bytes, bytes.size);
			model.from = model.to = 0;
		}
	}
	stt_bytes_clear(&bytes);
}

static void nothing_appended_is_nothing(void **unused)
{
	struct stt_bytes bytes = {0};
	struct iovec part;

	(void)unused;
	assert_true(stt_bytes_empty(&bytes));
	assert_int_equal(stt_bytes_append(&bytes, NULL, 0, true), 0);
	assert_true(stt_bytes_empty(&bytes));
	assert_int_equal(stt_bytes_peek(&bytes, &part, 1, SIZE_MAX), 0);
	stt_bytes_consume(&bytes, 0);
	stt_bytes_clear(&bytes);
	stt_shared_unref(NULL);
}

/* No more parts and no more bytes than asked for, and nothing goes by looking. */
static void peek_shows_as_much_as_is_asked_for(void **unused)
{
	struct stt_bytes bytes = {0};
	static unsigned char text[3 * LARGEST];
	struct iovec parts[64];

	(void)unused;
	fill_pattern(text, sizeof(text), 7);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stt_bytes_append(&bytes, text + i * LARGEST, LARGEST, i % 2), 0);
	assert_int_equal(stt_bytes_peek(&bytes, parts, 0, SIZE_MAX), 0);
	assert_int_equal(stt_bytes_peek(&bytes, parts, 64, 0), 0);
	for (size_t most = 1; most < sizeof(text); most += 997) {
		int count = stt_bytes_peek(&bytes, parts, 64, most);
		size_t size = 0;

		for (int i = 0; i < count; i++) {
			assert_memory_equal(parts[i].iov_base, text + size, parts[i].iov_len);
			size += parts[i].iov_len;
		}
		assert_int_equal(size, most);
	}
	assert_int_equal(bytes.size, sizeof(text));
	assert_int_equal(bytes.own, LARGEST);
	stt_bytes_clear(&bytes);
	assert_int_equal(bytes.own, 0);
}

/* ------------------------------------------------------------------- memory */

/* What the queue may take beside 8/7 of its bytes, see bytes.h, and what malloc keeps by it. */
enum {
	CONSTANT = 24 * 1024,
	QUEUED = 1024 * 1024,
	/* What was freed and stands in a thread's cache is counted as in use. */
	CACHED = 16 * 1024
};

static unsigned char data[2 * QUEUED];

/* Appends in one of three ways: 0 or -ENOMEM. */
static int append_in_way(struct stt_bytes *bytes, int way, const unsigned char *text, size_t size,
			 struct stt_shared *shared)
{
	struct iovec parts[] = {{(void *)(uintptr_t)text, size / 2},
				{(void *)(uintptr_t)(text + size / 2), size - size / 2}};

	switch (way) {
	case 0:
		return stt_bytes_append(bytes, text, size, true);
	case 1:
		return stt_bytes_append_parts(bytes, parts, 2, size, true);
	default:
		return stt_bytes_append_shared(bytes, shared, 0, size, true);
	}
}

/* Whether an append fails of which so many allocations succeed: then the queue is what it was.
 * Tried so often that a chunk which is left behind is seen. */
static bool fails_after(struct stt_bytes *bytes, int way, long allocations,
			struct stt_shared *shared)
{
	enum {
		TIMES = 1000
	};
	size_t size = bytes->size;
	size_t before = bytes_in_use();

	for (int i = 0; i < TIMES; i++) {
		deny_after(allocations, true);
		int result = append_in_way(bytes, way, data, LARGEST, shared);

		allow_again();
		if (result == 0)
			return false;
		assert_int_equal(result, -ENOMEM);
		assert_int_equal(bytes->size, size);
		assert_int_equal(bytes->own, 0);
	}
	assert_true(bytes_in_use() <= before + CACHED);
	return true;
}

static void append_without_memory_takes_nothing(void **unused)
{
	(void)unused;
	if (!memory_can_be_short())
		skip();
	for (int way = 0; way < 3; way++) {
		struct stt_shared *shared = stt_shared_new(data, LARGEST);
		struct stt_bytes bytes = {0};
		long allocations = 0;

		assert_non_null(shared);
		assert_int_equal(stt_bytes_append(&bytes, data, 100, false), 0);
		while (fails_after(&bytes, way, allocations, shared))
			allocations++;
		assert_in_range(allocations, 1, 10);
		assert_int_equal(bytes.size, 100 + LARGEST);
		assert_int_equal(bytes.own, LARGEST);
		stt_bytes_clear(&bytes);
		stt_shared_unref(shared);
	}
}

/* One way of filling a queue: step `i`, of which nobody else keeps anything. */
typedef void fill_fn(struct stt_bytes *bytes, int i);

static void append_shared(struct stt_bytes *bytes, size_t size, bool own)
{
	struct stt_shared *shared = stt_shared_new(data, size);

	assert_non_null(shared);
	assert_int_equal(stt_bytes_append_shared(bytes, shared, 0, size, own), 0);
	stt_shared_unref(shared);
}

static void bytes_one_by_one(struct stt_bytes *bytes, int i)
{
	(void)i;
	assert_int_equal(stt_bytes_append(bytes, data, 1, false), 0);
}

static void own_and_foreign_in_turn(struct stt_bytes *bytes, int i)
{
	assert_int_equal(stt_bytes_append(bytes, data, 1, i % 2), 0);
}

static void tiny_parts(struct stt_bytes *bytes, int i)
{
	struct iovec parts[1024];

	for (int k = 0; k < 1024; k++)
		parts[k] = (struct iovec){data + k, (size_t)(k % 3)};
	assert_int_equal(stt_bytes_append_parts(bytes, parts, 1024, 1023, i % 2), 0);
}

static void just_over_half_a_chunk(struct stt_bytes *bytes, int i)
{
	struct iovec part = {data, 2100};

	assert_int_equal(stt_bytes_append_parts(bytes, &part, 1, 2100, i % 2), 0);
}

static void small_shared_ones(struct stt_bytes *bytes, int i)
{
	append_shared(bytes, STT_SHARE_FROM, i % 2);
}

/* Each small copy would have a chunk of its own, nearly empty. */
static void a_byte_between_shared_ones(struct stt_bytes *bytes, int i)
{
	append_shared(bytes, STT_SHARE_FROM, i % 2);
	assert_int_equal(stt_bytes_append(bytes, data, 1, i % 2), 0);
}

static void shared_ones_with_a_small_rest(struct stt_bytes *bytes, int i)
{
	append_shared(bytes, 16 * 1024 - 64 + 1, i % 2);
}

/* The first one is large, and goes but for its last byte. */
static void the_last_byte_of_a_large_copy(struct stt_bytes *bytes, int i)
{
	if (i) {
		bytes_one_by_one(bytes, i);
		return;
	}
	assert_int_equal(stt_bytes_append(bytes, data, QUEUED, false), 0);
	stt_bytes_consume(bytes, QUEUED - 1);
}

static void the_last_byte_of_a_large_shared_one(struct stt_bytes *bytes, int i)
{
	if (i) {
		bytes_one_by_one(bytes, i);
		return;
	}
	append_shared(bytes, QUEUED, false);
	stt_bytes_consume(bytes, QUEUED - 1);
}

static void memory_is_bounded_by_the_bytes(void **unused)
{
	static const struct {
		fill_fn *fill;
		double factor;
	} ways[] = {
		{bytes_one_by_one, 1.04},
		{own_and_foreign_in_turn, 1.15},
		{tiny_parts, 1.15},
		{just_over_half_a_chunk, 1.15},
		{small_shared_ones, 1.04},
		{a_byte_between_shared_ones, 1.04},
		{shared_ones_with_a_small_rest, 1.04},
		{the_last_byte_of_a_large_copy, 1.04},
		{the_last_byte_of_a_large_shared_one, 1.04},
	};

	(void)unused;
	if (!memory_is_measured())
		skip();
	for (size_t i = 0; i < COUNT(ways); i++) {
		struct stt_bytes bytes = {0};
		size_t before = bytes_in_use();

		for (int step = 0; bytes.size < QUEUED; step++) {
			ways[i].fill(&bytes, step);
			/* At each moment, and not at the end alone. */
			if (step % 997 && bytes.size < QUEUED)
				continue;
			size_t used = bytes_in_use() - before;
			size_t limit = (size_t)((double)bytes.size * ways[i].factor) + CONSTANT;

			if (used > limit)
				fail_msg("way %zu: %zu bytes of memory for %zu", i, used,
					 bytes.size);
		}
		stt_bytes_clear(&bytes);
		assert_true(bytes_in_use() <= before + CACHED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_keeps_order_and_whose_each_byte_is),
		cmocka_unit_test(nothing_appended_is_nothing),
		cmocka_unit_test(peek_shows_as_much_as_is_asked_for),
		cmocka_unit_test(append_without_memory_takes_nothing),
		cmocka_unit_test(memory_is_bounded_by_the_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
