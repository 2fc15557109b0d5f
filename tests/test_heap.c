/* SPDX-License-Identifier: MIT */
/* The pairing heap against an array that is searched from end to end; what it has to keep of its
 * form; and what it costs. */
#include "base/heap.h"

#include "base/list.h"
#include "support/support.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct entry {
	struct stt_heap_node node;
	int64_t at;
	bool in;
};

static int64_t earliest(const struct entry *entries, size_t count)
{
	int64_t at = INT64_MAX;

	for (size_t i = 0; i < count; i++)
		if (entries[i].in && entries[i].at < at)
			at = entries[i].at;
	return at;
}

/* How many nodes there are; each is in order with its parent, and what points to it is in `prev`.
 * Goes down the first children and, for the siblings, on; depths are small here. */
static size_t check_form(const struct stt_heap_node *first, const struct stt_heap_node *parent)
{
	const struct stt_heap_node *before = parent;
	size_t count = 0;

	for (const struct stt_heap_node *node = first; node; node = node->next) {
		assert_ptr_equal(node->prev, before);
		assert_true(!parent || node->at >= parent->at);
		count += 1 + check_form(node->child, node);
		before = node;
	}
	return count;
}

static size_t count_children(const struct stt_heap_node *node)
{
	size_t count = 0;

	for (node = node->child; node; node = node->next)
		count++;
	return count;
}

static void empty_heap_has_no_first(void **state)
{
	struct stt_heap heap = {0};
	struct stt_heap_node node;

	(void)state;
	assert_null(stt_heap_first(&heap));
	stt_heap_add(&heap, &node, INT64_MAX);
	assert_ptr_equal(stt_heap_first(&heap), &node);
	stt_heap_remove(&heap, &node);
	assert_null(stt_heap_first(&heap));
}

static void extremes_are_in_order(void **state)
{
	static const int64_t ats[] = {0, INT64_MAX, -1, INT64_MIN, 1, INT64_MAX, INT64_MIN};
	static const int64_t sorted[] = {INT64_MIN, INT64_MIN, -1, 0, 1, INT64_MAX, INT64_MAX};
	struct stt_heap_node nodes[COUNT(ats)];
	struct stt_heap heap = {0};

	(void)state;
	for (size_t i = 0; i < COUNT(ats); i++)
		stt_heap_add(&heap, &nodes[i], ats[i]);
	for (size_t i = 0; i < COUNT(ats); i++) {
		struct stt_heap_node *first = stt_heap_first(&heap);

		assert_non_null(first);
		assert_int_equal(first->at, sorted[i]);
		stt_heap_remove(&heap, first);
	}
	assert_null(stt_heap_first(&heap));
}

/* A node may be added again with what is left in it of its last time. */
static void heap_is_what_the_plainest_search_finds(void **state)
{
	enum {
		ENTRIES = 200,
		STEPS = 20000
	};
	static struct entry entries[ENTRIES];
	struct stt_heap heap = {0};
	uint32_t random = test_seed();
	size_t count = 0;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		struct entry *entry = &entries[next_random(&random) % ENTRIES];
		/* Few different times, so that many are the same. */
		int64_t at = next_random(&random) % 50;

		/* Each third removal is that of the first. */
		if (entry->in && next_random(&random) % 3 == 0)
			entry = stt_container_of(stt_heap_first(&heap), struct entry, node);
		if (entry->in) {
			stt_heap_remove(&heap, &entry->node);
		} else {
			stt_heap_add(&heap, &entry->node, at);
			entry->at = at;
		}
		entry->in = !entry->in;
		count += entry->in ? 1 : (size_t)-1;
		assert_int_equal(check_form(heap.root, NULL), count);
		if (count)
			assert_int_equal(stt_heap_first(&heap)->at, earliest(entries, ENTRIES));
		else
			assert_null(stt_heap_first(&heap));
	}
}

/* ---------------------------------------------------------------------- cost */

/* Linking is what a heap costs: all the children of what is removed are. Linked one after the other
 * and not in pairs these would be all but one of the next removal's children, too. */
static void assert_cheap(int64_t (*at)(int64_t i), const char *name)
{
	enum {
		MANY = 1 << 15,
		LOG = 15
	};
	struct stt_heap_node *nodes = calloc(MANY, sizeof(*nodes));
	struct stt_heap heap = {0};
	int64_t last = INT64_MIN;
	size_t links = 0;

	assert_non_null(nodes);
	for (int64_t i = 0; i < MANY; i++)
		stt_heap_add(&heap, &nodes[i], at(i));
	for (int64_t i = 0; i < MANY; i++) {
		struct stt_heap_node *first = stt_heap_first(&heap);

		assert_true(first->at >= last);
		last = first->at;
		links += count_children(first);
		stt_heap_remove(&heap, first);
	}
	print_message("%s: %zu links for each\n", name, links / MANY);
	assert_true(links <= (size_t)2 * LOG * MANY);
	free(nodes);
}

static int64_t rising(int64_t i)
{
	return i;
}

static int64_t falling(int64_t i)
{
	return -i;
}

static int64_t same(int64_t i)
{
	(void)i;
	return 7;
}

static int64_t scattered(int64_t i)
{
	return i * 7919 % 10007;
}

/* Neither does a long list of siblings use up the stack. */
static void removing_all_costs_a_logarithm_each(void **state)
{
	(void)state;
	assert_cheap(rising, "rising");
	assert_cheap(falling, "falling");
	assert_cheap(same, "all at once");
	assert_cheap(scattered, "scattered");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_heap_has_no_first),
		cmocka_unit_test(extremes_are_in_order),
		cmocka_unit_test(heap_is_what_the_plainest_search_finds),
		cmocka_unit_test(removing_all_costs_a_logarithm_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
