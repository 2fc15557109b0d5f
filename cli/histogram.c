/* SPDX-License-Identifier: MIT */
/*
 * The buckets: one for each of the first 2048 nanoseconds, then 1024 for each
 * power of two, each twice as wide as in the one before.
 */
#include "histogram.h"

#include <math.h>
#include <stdlib.h>

struct histogram *histogram_new(void)
{
	struct histogram *histogram = calloc(1, sizeof(*histogram));

	if (histogram)
		atomic_init(&histogram->least, UINT64_MAX);
	return histogram;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < 2 * HISTOGRAM_HALF)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - 10;
	if (shift >= HISTOGRAM_POWERS)
		return HISTOGRAM_BUCKETS - 1;
	return shift * HISTOGRAM_HALF + (unsigned)(ns >> shift);
}

/* The first time that is too long for the bucket. */
static uint64_t end_of(unsigned bucket)
{
	unsigned shift = bucket < 2 * HISTOGRAM_HALF ? 0 : bucket / HISTOGRAM_HALF - 1;

	return (uint64_t)(bucket - shift * HISTOGRAM_HALF + 1) << shift;
}

/* There is one writer: it needs no instruction that locks. */
static void grow(_Atomic uint64_t *number, uint64_t by)
{
	atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + by,
			      memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

static void widen(struct histogram *histogram, uint64_t least, uint64_t most)
{
	if (least < get(&histogram->least))
		atomic_store_explicit(&histogram->least, least, memory_order_relaxed);
	if (most > get(&histogram->most))
		atomic_store_explicit(&histogram->most, most, memory_order_relaxed);
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
	grow(&histogram->counts[bucket_of(ns)], 1);
	grow(&histogram->total, 1);
	grow(&histogram->sum, ns);
	widen(histogram, ns, ns);
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t count = get(&from->counts[i]);

		/* The total is that of these counts, also while somebody adds. */
		if (count > 0) {
			grow(&to->counts[i], count);
			grow(&to->total, count);
		}
	}
	grow(&to->sum, get(&from->sum));
	widen(to, get(&from->least), get(&from->most));
}

uint64_t histogram_at(const struct histogram *histogram, double part)
{
	double wanted = ceil(part * (double)get(&histogram->total));
	uint64_t seen = 0, most = get(&histogram->most);

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += get(&histogram->counts[i]);
		if (seen > 0 && (double)seen >= wanted)
			return end_of(i) - 1 < most ? end_of(i) - 1 : most;
	}
	return most;
}

double histogram_mean(const struct histogram *histogram)
{
	uint64_t total = get(&histogram->total);

	return total ? (double)get(&histogram->sum) / (double)total : 0;
}

double histogram_deviation(const struct histogram *histogram)
{
	double mean = histogram_mean(histogram), sum = 0;
	uint64_t total = get(&histogram->total);

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t count = get(&histogram->counts[i]);
		double middle;

		if (count == 0)
			continue;
		middle = i == 0 ? 0.5 : ((double)end_of(i - 1) + (double)end_of(i)) / 2;
		sum += (double)count * (middle - mean) * (middle - mean);
	}
	return total ? sqrt(sum / (double)total) : 0;
}

uint64_t histogram_between(const struct histogram *histogram, uint64_t from, uint64_t to)
{
	uint64_t seen = 0;

	for (unsigned i = bucket_of(from); i < bucket_of(to); i++)
		seen += get(&histogram->counts[i]);
	return seen;
}
