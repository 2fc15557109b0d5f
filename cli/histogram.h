/* SPDX-License-Identifier: MIT */
/*
 * An HDR histogram (https://hdrhistogram.org): counts of times, each to three
 * significant digits, from a nanosecond to more than an hour. Debian 12 has no C
 * library for it; this is the part that is needed here, with the same buckets.
 *
 * One thread adds, others may look at the same time.
 */
#ifndef CLI_HISTOGRAM_H
#define CLI_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	HISTOGRAM_HALF = 1024, /* buckets for each power of two: three digits */
	HISTOGRAM_POWERS = 33,
	HISTOGRAM_BUCKETS = HISTOGRAM_HALF * (HISTOGRAM_POWERS + 1),
};

struct histogram {
	_Atomic uint64_t counts[HISTOGRAM_BUCKETS];
	_Atomic uint64_t total;
	_Atomic uint64_t sum; /* of all times, in nanoseconds */
	_Atomic uint64_t least, most;
};

/* NULL: no memory. free(3) frees it. */
struct histogram *histogram_new(void);
void histogram_add(struct histogram *histogram, uint64_t ns);
/* Adds all that is in `from`. */
void histogram_merge(struct histogram *to, const struct histogram *from);

/* In nanoseconds: the time that this part (0 to 1) of all does not exceed; 0 of none. */
uint64_t histogram_at(const struct histogram *histogram, double part);
double histogram_mean(const struct histogram *histogram);
double histogram_deviation(const struct histogram *histogram);

/* How many are at least `from`, and below `to`; both as exact as a bucket. */
uint64_t histogram_between(const struct histogram *histogram, uint64_t from, uint64_t to);

#endif
