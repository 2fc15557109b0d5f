/* SPDX-License-Identifier: MIT */
/*
 * One list for all sizes was emptied by each call that wanted another size: two
 * objects in turn on one loop made a stack for every call, and mapped a block of
 * 64 for it.
 */
#include "conn/spares.h"

#include "conn/strand.h"

static struct stt_strand *pop(struct stt_spares *spares, struct stt_shelf *shelf)
{
	struct stt_strand *strand = shelf->first;

	shelf->first = strand->next;
	shelf->count--;
	spares->count--;
	return strand;
}

static void free_one(struct stt_spares *spares, struct stt_shelf *shelf)
{
	stt_fiber_free(&pop(spares, shelf)->fiber);
}

static struct stt_shelf *find_shelf(struct stt_spares *spares, size_t stack_size)
{
	for (int i = 0; i < STT_SPARE_SIZES; i++)
		if (spares->shelves[i].stack_size == stack_size)
			return &spares->shelves[i];
	return NULL;
}

/* For a size that has none: the one with the fewest, which go. */
static struct stt_shelf *clear_shelf(struct stt_spares *spares, size_t stack_size)
{
	struct stt_shelf *fewest = spares->shelves;

	for (int i = 1; i < STT_SPARE_SIZES; i++)
		if (spares->shelves[i].count < fewest->count)
			fewest = &spares->shelves[i];
	while (fewest->first)
		free_one(spares, fewest);
	fewest->stack_size = stack_size;
	return fewest;
}

static struct stt_shelf *fullest_shelf(struct stt_spares *spares)
{
	struct stt_shelf *fullest = spares->shelves;

	for (int i = 1; i < STT_SPARE_SIZES; i++)
		if (spares->shelves[i].count > fullest->count)
			fullest = &spares->shelves[i];
	return fullest;
}

struct stt_strand *stt_spares_take(struct stt_spares *spares, size_t stack_size)
{
	struct stt_shelf *shelf = find_shelf(spares, stack_size);

	return shelf && shelf->first ? pop(spares, shelf) : NULL;
}

void stt_spares_give(struct stt_spares *spares, struct stt_strand *strand)
{
	size_t stack_size = strand->fiber.stack.size;
	struct stt_shelf *shelf = find_shelf(spares, stack_size);

	if (!shelf)
		shelf = clear_shelf(spares, stack_size);
	if (spares->count >= STT_MOST_SPARE) {
		struct stt_shelf *fullest = fullest_shelf(spares);

		/* So that each size comes to its share. */
		if (fullest->count <= shelf->count + 1) {
			stt_fiber_free(&strand->fiber);
			return;
		}
		free_one(spares, fullest);
	}
	strand->next = shelf->first;
	shelf->first = strand;
	shelf->count++;
	spares->count++;
}

void stt_spares_fini(struct stt_spares *spares)
{
	for (int i = 0; i < STT_SPARE_SIZES; i++)
		while (spares->shelves[i].first)
			free_one(spares, &spares->shelves[i]);
}
